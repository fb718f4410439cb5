/* The machine stands in one state: it waits for one answer, or looks at the next term. Including is
 * a stack of frames, redirecting replaces the topmost one. */
#include "smtp/spf.h"

static struct spf_frame *top(struct spf *spf)
{
    return &spf->frames[spf->depth - 1];
}

static void finish(struct spf *spf, enum spf_result result)
{
    spf->result = result;
    spf->state = SPF_OVER;
}

static void ask(struct spf *spf, enum spf_state state, const struct name *name, enum rr_type type)
{
    spf->state = state;
    spf->asked = *name;
    spf->type = type;
}

static enum rr_type address_type(const struct spf *spf)
{
    return spf_is_ipv4(spf->subject.client) ? RR_A : RR_AAAA;
}

/* ---- the result of a record ---- */

/* The topmost record has its result: of an include it decides whether that matches. */
static void end_record(struct spf *spf, enum spf_result result)
{
    if (spf->depth == 1) {
        finish(spf, result);
        return;
    }
    spf->depth--;
    if (result == SPF_PASS)
        end_record(spf, top(spf)->term.result);
    else if (result == SPF_TEMPERROR)
        finish(spf, SPF_TEMPERROR);
    else if (result == SPF_PERMERROR || result == SPF_NONE)
        finish(spf, SPF_PERMERROR);
    else
        spf->state = SPF_AT_TERM;
}

static void match(struct spf *spf)
{
    end_record(spf, top(spf)->term.result);
}

static void no_match(struct spf *spf)
{
    spf->state = SPF_AT_TERM;
}

/* ---- look-ups ---- */

/* True: go on. False: temporary failure, or one look-up too many that found nothing. */
static bool found_something(struct spf *spf, const struct answer *answer)
{
    if (!answer || (answer->rcode != RCODE_NOERROR && answer->rcode != RCODE_NXDOMAIN))
        finish(spf, SPF_TEMPERROR);
    else if (answer->count == 0 && answer->left_out == 0 && ++spf->voids > SPF_VOID)
        finish(spf, SPF_PERMERROR);
    else
        return true;
    return false;
}

static bool bits_match(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;
    if (memcmp(a, b, whole) != 0)
        return false;
    return rest == 0 || ((a[whole] ^ b[whole]) & (0xff << (8 - rest)) & 0xff) == 0;
}

static bool network_matches(const struct spf *spf, const struct spf_term *term,
                            const uint8_t network[16])
{
    bool ipv4 = spf_is_ipv4(spf->subject.client);
    if (ipv4 != spf_is_ipv4(network))
        return false;
    return bits_match(spf->subject.client, network, ipv4 ? 96 + term->bits4 : term->bits6);
}

static bool any_address_matches(const struct spf *spf, const struct spf_term *term,
                                const struct answer *answer)
{
    for (unsigned i = 0; i < answer->count; i++)
        if (network_matches(spf, term, answer->records[i].bits))
            return true;
    return false;
}

/* ---- macros ---- */

static struct spf_macros macros_of(struct spf *spf)
{
    struct spf_macros macros = {
        .local = spf->subject.local,
        .sender_domain = spf->subject.domain,
        .domain = name_span(&top(spf)->domain),
        .helo = spf->subject.helo,
        .validated = name_span(&spf->validated),
    };
    memcpy(macros.client, spf->subject.client, sizeof macros.client);
    return macros;
}

/* The domain that a term is about. False: what comes out is no name that DNS could have. */
static bool target_of(struct spf *spf, struct span spec, struct name *ret_name)
{
    char storage[4096];
    struct sink sink;
    if (spec.len == 0) {
        *ret_name = top(spf)->domain;
        return true;
    }
    struct spf_macros macros = macros_of(spf);
    sink_init(&sink, storage, sizeof storage);
    return spf_expand(spec, &macros, &sink) && name_parse(sink_span(&sink), ret_name);
}

static void reverse_name(const struct spf *spf, struct name *ret_name)
{
    char storage[128];
    struct sink sink;
    struct spf_macros macros = {0};
    memcpy(macros.client, spf->subject.client, sizeof macros.client);
    sink_init(&sink, storage, sizeof storage);
    check(spf_expand(SPAN("%{ir}.%{v}.arpa"), &macros, &sink) &&
          name_parse(sink_span(&sink), ret_name));
}

/* ---- ptr, and the name behind %{p} ---- */

static void ask_ptr(struct spf *spf, bool validating)
{
    struct name name;
    reverse_name(spf, &name);
    spf->validating = validating;
    spf->host_count = spf->host = 0;
    ask(spf, SPF_AT_PTR, &name, RR_PTR);
}

static void end_ptr(struct spf *spf)
{
    if (spf->validating)
        spf->validated_known = true; /* the term is looked at again */
    no_match(spf);
}

/* Names that cannot be what is wanted need no look-up. */
static void next_ptr_host(struct spf *spf)
{
    const struct name *wanted = spf->validating ? NULL : &spf->target;
    while (spf->host < spf->host_count && wanted &&
           !name_is_below(name_span(&spf->hosts[spf->host]), name_span(wanted)))
        spf->host++;
    if (spf->host == spf->host_count)
        end_ptr(spf);
    else
        ask(spf, SPF_AT_PTR_ADDRESS, &spf->hosts[spf->host], address_type(spf));
}

static void take_hosts(struct spf *spf, const struct answer *answer)
{
    spf->host = spf->host_count = 0;
    for (unsigned i = 0; i < answer->count && spf->host_count < SPF_HOSTS; i++)
        spf->host_count += name_parse(answer->records[i].name, &spf->hosts[spf->host_count]);
}

static void on_ptr(struct spf *spf, const struct answer *answer)
{
    if (!answer) { /* RFC 7208 5.5: a failure is no match */
        end_ptr(spf);
        return;
    }
    if (!found_something(spf, answer))
        return;
    take_hosts(spf, answer);
    next_ptr_host(spf);
}

static void on_ptr_address(struct spf *spf, const struct answer *answer)
{
    static const struct spf_term whole = {.bits4 = 32, .bits6 = 128};
    const struct name *host = &spf->hosts[spf->host];
    bool valid = answer && any_address_matches(spf, &whole, answer);
    if (answer && answer->count == 0 && !found_something(spf, answer))
        return;
    if (valid && !spf->validating) {
        match(spf);
        return;
    }
    /* For %{p}: the domain itself, else one below it, else any (7.3). */
    struct span domain = name_span(&top(spf)->domain), before = name_span(&spf->validated);
    if (valid && (before.len == 0 || span_equals(name_span(host), domain) ||
                  (name_is_below(name_span(host), domain) && !name_is_below(before, domain))))
        spf->validated = *host;
    spf->host++;
    next_ptr_host(spf);
}

/* ---- the other mechanisms ---- */

static void on_address(struct spf *spf, const struct answer *answer)
{
    if (!found_something(spf, answer))
        return;
    if (any_address_matches(spf, &top(spf)->term, answer))
        match(spf);
    else
        no_match(spf);
}

static void next_mx_host(struct spf *spf)
{
    if (spf->host == spf->host_count)
        no_match(spf);
    else
        ask(spf, SPF_AT_MX_ADDRESS, &spf->hosts[spf->host], address_type(spf));
}

static void on_mx(struct spf *spf, const struct answer *answer)
{
    if (!found_something(spf, answer))
        return;
    if (answer->count + answer->left_out > SPF_HOSTS) {
        finish(spf, SPF_PERMERROR);
        return;
    }
    take_hosts(spf, answer);
    next_mx_host(spf);
}

static void on_mx_address(struct spf *spf, const struct answer *answer)
{
    if (!found_something(spf, answer))
        return;
    spf->host++;
    if (any_address_matches(spf, &top(spf)->term, answer))
        match(spf);
    else
        next_mx_host(spf);
}

static void on_exists(struct spf *spf, const struct answer *answer)
{
    if (!found_something(spf, answer))
        return;
    if (answer->count)
        match(spf);
    else
        no_match(spf);
}

/* ---- records ---- */

/* The one SPF record among the texts. False: that settles it. */
static bool choose_record(struct spf *spf, const struct answer *answer, struct span *ret_record)
{
    char storage[ANSWER_STRINGS];
    unsigned found = 0;
    for (unsigned i = 0; i < answer->count; i++) {
        struct sink sink;
        sink_init(&sink, storage, sizeof storage);
        answer_text(&answer->records[i], &sink);
        if (!spf_is_record(sink_span(&sink)))
            continue;
        if (++found == 1 && !arena_copy(spf->arena, sink_span(&sink), ret_record)) {
            finish(spf, SPF_TEMPERROR);
            return false;
        }
    }
    if (found == 1)
        return true;
    end_record(spf, found || top(spf)->redirected ? SPF_PERMERROR : SPF_NONE);
    return false;
}

static void on_record(struct spf *spf, const struct answer *answer)
{
    struct span record;
    struct spf_frame *frame = top(spf);
    if (!answer || (answer->rcode != RCODE_NOERROR && answer->rcode != RCODE_NXDOMAIN)) {
        finish(spf, SPF_TEMPERROR);
        return;
    }
    if (!choose_record(spf, answer, &record))
        return;
    if (!spf_check(record, &frame->redirect)) {
        end_record(spf, SPF_PERMERROR);
        return;
    }
    frame->rest = span_skip(record, 6);
    spf->state = SPF_AT_TERM;
}

static void open_record(struct spf *spf, const struct name *domain, bool redirected)
{
    *top(spf) = (struct spf_frame){.domain = *domain, .redirected = redirected};
    ask(spf, SPF_AT_RECORD, domain, RR_TXT);
}

/* ---- terms ---- */

static void include(struct spf *spf)
{
    struct name domain;
    if (!target_of(spf, top(spf)->term.domain, &domain)) {
        finish(spf, SPF_PERMERROR); /* as a domain without a record */
        return;
    }
    check(spf->depth < SPF_DEPTH); /* SPF_TERMS comes before */
    spf->depth++;
    open_record(spf, &domain, false);
}

static void redirect(struct spf *spf, struct span spec)
{
    struct name domain;
    if (spf->terms++ == SPF_TERMS || !target_of(spf, spec, &domain))
        finish(spf, SPF_PERMERROR);
    else
        open_record(spf, &domain, true);
}

static void begin_lookups(struct spf *spf)
{
    const struct spf_term *term = &top(spf)->term;
    if (term->mechanism == SPF_INCLUDE) {
        include(spf);
        return;
    }
    if (!target_of(spf, term->domain, &spf->target)) {
        no_match(spf);
        return;
    }
    if (term->mechanism == SPF_A)
        ask(spf, SPF_AT_ADDRESS, &spf->target, address_type(spf));
    else if (term->mechanism == SPF_MX)
        ask(spf, SPF_AT_MX, &spf->target, RR_MX);
    else if (term->mechanism == SPF_EXISTS)
        ask(spf, SPF_AT_EXISTS, &spf->target, RR_A);
    else
        ask_ptr(spf, false);
}

static void look_at_mechanism(struct spf *spf)
{
    const struct spf_term *term = &top(spf)->term;
    bool here = term->mechanism == SPF_IP4 || term->mechanism == SPF_IP6;
    if (term->mechanism == SPF_ALL || (here && network_matches(spf, term, term->network)))
        match(spf);
    else if (here)
        no_match(spf);
    else if (spf->terms++ == SPF_TERMS)
        finish(spf, SPF_PERMERROR);
    else
        begin_lookups(spf);
}

/* Is %{p} needed now? It is found out once, before the term that names it. */
static bool needs_validated(struct spf *spf, struct span spec)
{
    return !spf->validated_known && spf_uses_validated(spec);
}

static void next_term(struct spf *spf)
{
    struct spf_frame *frame = top(spf);
    struct span before = frame->rest;
    if (spf_next_term(&frame->rest, &frame->term) == SPF_TERM) {
        if (frame->term.kind != SPF_DIRECTIVE)
            return;
        if (needs_validated(spf, frame->term.domain)) {
            frame->rest = before;
            ask_ptr(spf, true);
            return;
        }
        look_at_mechanism(spf);
    } else if (frame->redirect.len == 0) {
        end_record(spf, SPF_NEUTRAL);
    } else if (needs_validated(spf, frame->redirect)) {
        ask_ptr(spf, true);
    } else {
        redirect(spf, frame->redirect);
    }
}

static void run(struct spf *spf)
{
    while (spf->state == SPF_AT_TERM)
        next_term(spf);
}

/* ---- the outside ---- */

/* A domain that could have a record: several labels, not an address literal (4.3). */
static bool is_checkable(struct span domain, struct name *ret_name)
{
    return span_find(domain, '.') < domain.len && name_parse(domain, ret_name) &&
           span_find(name_span(ret_name), '.') < ret_name->len;
}

void spf_init(struct spf *spf, struct arena *arena, const struct spf_subject *subject)
{
    struct name domain;
    *spf = (struct spf){.arena = arena, .subject = *subject, .depth = 1};
    if (spf->subject.local.len == 0)
        spf->subject.local = SPAN("postmaster");
    if (is_checkable(subject->domain, &domain))
        open_record(spf, &domain, false);
    else
        finish(spf, SPF_NONE);
}

bool spf_asks(const struct spf *spf, struct name *ret_name, enum rr_type *ret_type)
{
    if (spf->state == SPF_OVER)
        return false;
    *ret_name = spf->asked;
    *ret_type = spf->type;
    return true;
}

void spf_answer(struct spf *spf, const struct answer *answer)
{
    static void (*const handlers[])(struct spf * spf, const struct answer *answer) = {
        [SPF_AT_RECORD] = on_record, [SPF_AT_ADDRESS] = on_address,
        [SPF_AT_MX] = on_mx,         [SPF_AT_MX_ADDRESS] = on_mx_address,
        [SPF_AT_PTR] = on_ptr,       [SPF_AT_PTR_ADDRESS] = on_ptr_address,
        [SPF_AT_EXISTS] = on_exists,
    };
    check(spf->state != SPF_OVER && spf->state != SPF_AT_TERM);
    handlers[spf->state](spf, answer);
    run(spf);
}

struct span spf_result_name(enum spf_result result)
{
    static const struct span names[SPF_RESULTS] = {
        [SPF_NONE] = SPAN("none"),           [SPF_NEUTRAL] = SPAN("neutral"),
        [SPF_PASS] = SPAN("pass"),           [SPF_FAIL] = SPAN("fail"),
        [SPF_SOFTFAIL] = SPAN("softfail"),   [SPF_TEMPERROR] = SPAN("temperror"),
        [SPF_PERMERROR] = SPAN("permerror"),
    };
    return names[result];
}
