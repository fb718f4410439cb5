/* The part for the person: plain sentences, who is concerned and why, what the other server said.
 */
#include "queue/bounce_private.h"

#include "queue/bounce_words.h"

enum {
    LISTED_MAX = 50, /* recipients described; the others are counted */
    WRAP_COLUMN = 76,
};

/* Paragraph of words, each line indented, broken at blanks. */
static void put_wrapped(struct report *report, struct span indent, struct span words)
{
    size_t column = 0;
    words = span_trim(words);
    while (words.len) {
        struct span word = span_first(words, span_find(words, ' '));
        if (column > 0 && column + 1 + word.len > WRAP_COLUMN) {
            PUT(report, "\r\n");
            column = 0;
        }
        report_put(report, column == 0 ? indent : SPAN(" "));
        report_put_clean(report, word, REPLY_MAX, report->utf8);
        column += (column == 0 ? indent.len : 1) + word.len;
        words = span_trim(span_skip(words, word.len));
    }
    if (column > 0)
        PUT(report, "\r\n");
}

static void put_introduction(struct report *report, unsigned count)
{
    PUT(report, "This is the mail system at ");
    report_put_host(report);
    PUT(report, ".\r\n\r\n");
    switch (report->bounce->kind) {
    case BOUNCE_FAILURE:
        PUT(report, "Sorry, your message could not be delivered to");
        break;
    case BOUNCE_DELAY:
        PUT(report, "Your message has not been delivered yet to");
        break;
    case BOUNCE_SUCCESS:
        PUT(report, "Your message was taken by the mail server of");
        break;
    }
    if (count == 1) {
        PUT(report, " this recipient.\r\n");
    } else {
        PUT(report, " these ");
        report_put_decimal(report, count);
        PUT(report, " recipients.\r\n");
    }
}

static void put_prospect(struct report *report)
{
    switch (report->bounce->kind) {
    case BOUNCE_FAILURE:
        PUT(report, "It will not be tried again.\r\n");
        break;
    case BOUNCE_DELAY:
        PUT(report, "You need not do anything: we keep trying until\r\n");
        report_put_date(report, report->bounce->retry_until_ms);
        PUT(report, ", and tell you if we have to give up.\r\n");
        break;
    case BOUNCE_SUCCESS:
        PUT(report, "That server may not report whether it reached the mailbox.\r\n");
        break;
    }
}

static void put_explanation(struct report *report, unsigned index)
{
    const struct verdict *verdict = &report->bounce->verdicts[index];
    char text[LINE_MAX_OCTETS];
    struct sink sink;
    sink_init(&sink, text, sizeof text);
    PUT(report, "\r\n<");
    report_put_address(report, report->bounce->envelope->recipients[index].address);
    PUT(report, ">\r\n");
    if (report->bounce->kind == BOUNCE_SUCCESS)
        return;
    if (verdict->outcome == OUTCOME_EXPIRED)
        PUT(report, "  We tried for as long as we are allowed to.\r\n");
    put_wrapped(report, SPAN("  "),
                bounce_words(verdict->reply.enhanced, verdict->reply.code, verdict->outcome));
    struct span peer = report_peer(report, verdict),
                words = report_last_words(report, verdict, &sink);
    if (words.len == 0)
        return;
    PUT(report, "  ");
    if (peer.len) {
        PUT(report, "The server ");
        report_put_clean(report, peer, NAME_MAX_BYTES, false);
        PUT(report, " said:\r\n");
    } else {
        PUT(report, "Our mail system noted:\r\n");
    }
    put_wrapped(report, SPAN("    "), words);
}

void report_put_person_part(struct report *report)
{
    unsigned count = report_count_concerned(report->bounce), listed = 0;
    report_put_boundary(report, SPAN(""));
    PUT(report, "Content-Description: Notification\r\nContent-Type: text/plain; charset=");
    report_put(report, report->utf8 ? SPAN("utf-8\r\n") : SPAN("us-ascii\r\n"));
    report_put_encoding(report, report->utf8);
    PUT(report, "\r\n");
    put_introduction(report, count);
    put_prospect(report);
    for (unsigned i = 0; i < report->bounce->envelope->recipient_count && listed < LISTED_MAX; i++)
        if (bounce_concerns(report->bounce, i)) {
            put_explanation(report, i);
            listed++;
        }
    if (listed < count) {
        PUT(report, "\r\nand ");
        report_put_decimal(report, count - listed);
        PUT(report, " more; the attached delivery report names them all.\r\n");
    }
}
