/* The first row that fits wins: exact codes stand before the rest of their subject (detail ANY).
 * The sentences say what the reader can do; they never guess beyond what the code says (RFC 3463).
 */
#include "queue/bounce_words.h"

#include "core/check.h"

enum { ANY = 0xffff };

static const struct {
    uint16_t subject, detail;
    struct span words;
} meanings[] = {
    {1, 1,
     SPAN("There is no mailbox of this name there. Please check the address for typing "
          "mistakes, or ask the person for the right one.")},
    {1, 2,
     SPAN("The part of the address after the @ does not exist. Please check it for typing "
          "mistakes.")},
    {1, 3, SPAN("The address is not written the way mail addresses are. Please check it.")},
    {1, 4,
     SPAN("The address fits more than one mailbox there. Please ask the person for a more "
          "exact one.")},
    {1, 6,
     SPAN("The mailbox has moved and no new address is known. Please ask the person for it.")},
    {1, 7, SPAN("The receiving system does not take mail from this sender address.")},
    {1, 8, SPAN("The receiving system does not take mail from this sender address.")},
    {1, 10, SPAN("This domain says that it does not take any mail. Please check the address.")},
    {1, ANY, SPAN("Something is wrong with the address. Please check it.")},
    {2, 1, SPAN("The mailbox exists but is switched off, so it takes no mail.")},
    {2, 2,
     SPAN("The mailbox is full. It can take mail again once the person has made room; please "
          "tell them by other means, or try again later.")},
    {2, 3,
     SPAN("The message is larger than this mailbox allows. Please send less, or share large "
          "files by a link.")},
    {2, ANY, SPAN("The mailbox cannot take this message.")},
    {3, 4,
     SPAN("The message is larger than the receiving system allows. Please send less, or share "
          "large files by a link.")},
    {3, ANY, SPAN("The receiving mail system has a problem of its own. Please try again later.")},
    {4, 1, SPAN("The receiving mail server could not be reached.")},
    {4, 2, SPAN("The connection to the receiving mail server broke off.")},
    {4, 3, SPAN("The directory that says which server takes this mail could not be asked.")},
    {4, 4,
     SPAN("No server that takes mail for this domain could be found. Please check the part of "
          "the address after the @.")},
    {4, 6,
     SPAN("The message went round in a circle between mail servers. The administrator of the "
          "receiving domain has to put this right.")},
    {4, 7, SPAN("The message waited too long for the receiving system to take it.")},
    {4, ANY, SPAN("The network or the receiving mail system has a problem.")},
    {5, 3,
     SPAN("The message has more recipients than the receiving system allows. Please send it in "
          "several parts.")},
    {5, ANY, SPAN("The two mail servers could not agree on how to hand the message over.")},
    {6, 3,
     SPAN("The receiving system cannot take a message of this form, and it could not be "
          "changed without loss.")},
    {6, 7,
     SPAN("The receiving system cannot take addresses with letters beyond plain ASCII. Please "
          "use an address without them, if there is one.")},
    {6, 9, SPAN("The receiving system cannot take header lines with letters beyond plain ASCII.")},
    {6, ANY, SPAN("The receiving system cannot take a message of this form.")},
    {7, 1,
     SPAN("The receiving system does not allow this message by its rules. The person you wrote "
          "to, or their administrator, can say why.")},
    {7, ANY,
     SPAN("The receiving system did not take the message because of its security or content "
          "rules. The person you wrote to, or their administrator, can say why.")},
};

struct span bounce_words(struct enhanced enhanced, uint16_t code, enum outcome outcome)
{
    for (size_t i = 0; enhanced.class && i < countof(meanings); i++)
        if (meanings[i].subject == enhanced.subject &&
            (meanings[i].detail == ANY || meanings[i].detail == enhanced.detail))
            return meanings[i].words;
    if (outcome == OUTCOME_EXPIRED)
        return SPAN("The receiving system did not take the message in all the time it was tried.");
    if (outcome == OUTCOME_DEFERRED)
        return SPAN("This is a passing problem, as far as the receiving system says.");
    if (code == 552)
        return SPAN("The message is too large, or the mailbox is full.");
    return SPAN("The receiving system did not say more.");
}
