/* An address begins with words. What stands behind them tells what they were: "<" a name, ":" a
 * group's name, anything else a local part, which is then read again as one. */
#include "retrieval/imap_address.h"

#include "retrieval/imap_string.h"
#include "retrieval/mime_token.h"

struct text {
    struct sink sink;
    char bytes[IMAP_ADDRESS_TEXT];
};

struct address_writer {
    struct imap_address_list *list;
    struct sink *out;
    bool in_group;
    struct text name, route, mailbox, host;
};

static void text_init(struct text *text)
{
    sink_init(&text->sink, text->bytes, sizeof text->bytes);
}

static void put_text(struct sink *out, const struct text *text)
{
    if (text->sink.len == 0)
        imap_nil_put(out);
    else
        imap_string_put(out, sink_span(&text->sink));
}

static void begin_entry(struct address_writer *writer)
{
    sink_put(writer->out, writer->list->any ? SPAN("(") : SPAN("(("));
    writer->list->any = true;
}

static void put_address(struct address_writer *writer)
{
    struct sink *mailbox = &writer->mailbox.sink, *host = &writer->host.sink;
    if (mailbox->len == 0)
        sink_put(mailbox, SPAN("MISSING_MAILBOX"));
    if (host->len == 0)
        sink_put(host, SPAN("MISSING_DOMAIN"));
    begin_entry(writer);
    put_text(writer->out, &writer->name);
    sink_byte(writer->out, ' ');
    put_text(writer->out, &writer->route);
    sink_byte(writer->out, ' ');
    put_text(writer->out, &writer->mailbox);
    sink_byte(writer->out, ' ');
    put_text(writer->out, &writer->host);
    sink_byte(writer->out, ')');
}

static void put_group_begin(struct address_writer *writer)
{
    begin_entry(writer);
    sink_put(writer->out, SPAN("NIL NIL "));
    imap_string_put(writer->out, sink_span(&writer->name.sink));
    sink_put(writer->out, SPAN(" NIL)"));
    writer->in_group = true;
}

static void put_group_end(struct address_writer *writer)
{
    begin_entry(writer);
    sink_put(writer->out, SPAN("NIL NIL NIL NIL)"));
    writer->in_group = false;
}

/* ---- reading ---- */

static bool take_word(struct tokens *tokens, struct sink *into)
{
    return tokens_quoted(tokens, into) || tokens_atom(tokens, into);
}

/* Words, with one blank between two of them; dots are kept, as in "J. Doe". */
static void read_phrase(struct tokens *tokens, struct sink *name)
{
    for (bool first = true;; first = false) {
        size_t before = name->len, rest = tokens->rest.len;
        int next = tokens_next(tokens);
        bool apart = !first && tokens->rest.len < rest; /* there was a blank in between */
        if (apart)
            sink_put_cut(name, SPAN(" "));
        if (next == '.') {
            tokens_take(tokens);
            sink_put_cut(name, SPAN("."));
        } else if (!take_word(tokens, name)) {
            name->len = before; /* the blank was the last */
            return;
        }
    }
}

/* Words with dots between them. */
static void read_dotted(struct tokens *tokens, struct sink *into)
{
    bool want_word = true;
    for (;;) {
        if (tokens_next(tokens) == '.') {
            tokens_take(tokens);
            sink_put_cut(into, SPAN("."));
            want_word = true;
        } else if (!want_word || !take_word(tokens, into)) {
            return;
        } else {
            want_word = false;
        }
    }
}

static void read_domain(struct tokens *tokens, struct sink *into)
{
    if (!tokens_literal(tokens, into))
        read_dotted(tokens, into);
}

static bool take_byte(struct tokens *tokens, char byte)
{
    if (tokens_next(tokens) != (unsigned char)byte)
        return false;
    tokens_take(tokens);
    return true;
}

static void read_addr_spec(struct tokens *tokens, struct address_writer *writer)
{
    read_dotted(tokens, &writer->mailbox.sink);
    if (take_byte(tokens, '@'))
        read_domain(tokens, &writer->host.sink);
}

/* "@a,@b:" in front of an address; kept without its colon. */
static void read_route(struct tokens *tokens, struct sink *route)
{
    while (take_byte(tokens, '@')) {
        sink_put_cut(route, route->len > 0 ? SPAN(",@") : SPAN("@"));
        read_domain(tokens, route);
        while (take_byte(tokens, ','))
            ;
    }
    take_byte(tokens, ':');
}

static void read_angle(struct tokens *tokens, struct address_writer *writer)
{
    tokens_take(tokens);
    read_route(tokens, &writer->route.sink);
    read_addr_spec(tokens, writer);
    take_byte(tokens, '>');
}

/* Up to the next address, whatever stands in between. */
static void skip_rest(struct tokens *tokens, bool in_group)
{
    int next;
    while ((next = tokens_next(tokens)) >= 0 && next != ',' && !(in_group && next == ';')) {
        char none;
        struct sink nothing;
        sink_init(&nothing, &none, 0);
        if (!take_word(tokens, &nothing))
            tokens_take(tokens);
    }
}

static void read_address(struct tokens *tokens, struct address_writer *writer)
{
    struct tokens start = *tokens;
    read_phrase(tokens, &writer->name.sink);
    int next = tokens_next(tokens);
    if (next == ':' && !writer->in_group) {
        tokens_take(tokens);
        put_group_begin(writer);
        return;
    }
    if (next == '<') {
        read_angle(tokens, writer);
    } else {
        *tokens = start;
        tokens->comment = (struct span){0};
        writer->name.sink.len = 0;
        read_addr_spec(tokens, writer);
        tokens_next(tokens);
        tokens_comment_put(tokens->comment, &writer->name.sink);
    }
    put_address(writer);
    skip_rest(tokens, writer->in_group);
}

void imap_address_list_begin(struct imap_address_list *list, struct sink *sink)
{
    *list = (struct imap_address_list){.sink = sink};
}

void imap_address_list_add(struct imap_address_list *list, struct span value)
{
    struct address_writer writer = {.list = list, .out = list->sink};
    struct tokens tokens = tokens_over(value);
    int next;
    while ((next = tokens_next(&tokens)) >= 0) {
        text_init(&writer.name);
        text_init(&writer.route);
        text_init(&writer.mailbox);
        text_init(&writer.host);
        if (next == ',') {
            tokens_take(&tokens);
        } else if (next == ';') {
            tokens_take(&tokens);
            if (writer.in_group)
                put_group_end(&writer);
        } else {
            read_address(&tokens, &writer);
        }
    }
    if (writer.in_group)
        put_group_end(&writer);
}

bool imap_address_list_end(struct imap_address_list *list)
{
    if (list->any)
        sink_byte(list->sink, ')');
    return list->any;
}
