#!/usr/bin/python3
"""What retrieval/ makes of mail, beside what a Dovecot makes of it.

    mime_dovecot.py MIME_SHOW [--seed N] [--mails N] [--keep DIR]

Mails: the real ones of Python's e-mail tests (Debian's libpython3.11-testsuite), and made ones:
generated from a seed, then mutated. Each is stored in a Maildir, Dovecot's doveadm writes ENVELOPE
and BODYSTRUCTURE of it, mime_show writes ours, and both are compared as parsed lists, so that how a
string is quoted does not count. `differences` knows every kind of difference that we want; a mail
may differ only by those. Exit 0: no other difference.
"""
import argparse
import email.mime.application
import email.mime.message
import email.mime.multipart
import email.mime.text
import glob
import os
import random
import shutil
import subprocess
import sys
import tempfile

CORPUS = "/usr/lib/python3.11/test/test_email/data/*.txt"

DOVECOT = """
base_dir = {dir}/run
state_dir = {dir}/run
log_path = {dir}/log
mail_location = maildir:{dir}/mail
"""


# ---- answers as lists ----

def parse(text):
    """One parenthesised list (bytes), with strings as bytes, NIL as None, numbers as int."""
    at = 0

    def item():
        nonlocal at
        if at >= len(text):
            raise ValueError("the list is open at its end: %r" % text[-80:])
        while text[at:at + 1] in (b" ", b"\r", b"\n"):
            at += 1
        c = text[at:at + 1]
        if c == b"(":
            at += 1
            out = []
            while text[at:at + 1] != b")":
                out.append(item())
                while text[at:at + 1] in (b" ", b"\r", b"\n") and at < len(text):
                    at += 1
            at += 1
            return out
        if c == b'"':
            at += 1
            out = bytearray()
            while at < len(text) and text[at:at + 1] != b'"':
                if text[at:at + 1] == b"\\":
                    at += 1
                out += text[at:at + 1]
                at += 1
            at += 1
            return bytes(out)
        if c == b"{":
            end = text.index(b"}", at)
            size = int(text[at + 1:end])
            start = end + 1
            if text[start:start + 2] == b"\r\n":
                start += 2
            elif text[start:start + 1] == b"\n":
                start += 1
            at = start + size
            return text[start:at]
        start = at
        while at < len(text) and text[at:at + 1] not in (b" ", b")", b"("):
            at += 1
        word = text[start:at]
        if not word:
            raise ValueError(text[at:at + 40])
        return None if word.upper() == b"NIL" else int(word)

    return item()


def parse_bare(text):
    return parse(b"(" + text + b")")


def unescape(text):
    out, at = bytearray(), 0
    while at < len(text):
        if text[at:at + 1] == b"\\":
            out += {b"n": b"\n", b"r": b"\r", b"\\": b"\\"}[text[at + 1:at + 2]]
            at += 2
        else:
            out += text[at:at + 1]
            at += 1
    return bytes(out)


# ---- mails ----

WORDS = "alpha beta gamma delta news offer Re: Fwd: =?utf-8?q?Gr=C3=BC=C3=9Fe?= 2026 (x) \"q\" a.b".split()
ADDRESSES = [
    "user@example.com", "Plain Name <user@example.com>", '"Quoted, Name" <q.n@example.net>',
    "user@example.com (Comment Name)", "<only@angle.example>", "group: a@b.example, C <c@d.example>;",
    "undisclosed-recipients:;", '"q uoted"@example.org', "a@[192.0.2.1]", "@r1.example,@r2.example:x@y.example",
    "<@r1.example,@r2.example:x@y.example>", "J. R. Doe <jr@example.com>", "=?utf-8?b?w7w=?= <u@example.com>",
    "bare", "Name <>", "a@b@c.example", "x@y.example,", ",,z@y.example", "Name <a@b.example> trailing",
    "(leading) first@example.com", "a.b.c@d.e.f", "esc\\aped <e@example.com>", "Joe Q <joe.q(c)@(d)example.com>",
    '"esc \\"quote\\"" <e@example.com>', "M\xfcller <m@example.com>", "two <a@b.example>, three <c@d.example>",
    "no close <a@b.example", "semi; colon@example.com", "nested (a (b) c) n@example.com",
]
TYPES = [
    "text/plain", "TEXT/HTML; charset=utf-8", "text/plain; charset=\"iso-8859-1\"; format=flowed",
    "application/octet-stream; name=\"a b.bin\"", "image/png", "text", "", "garbage", "text/plain;;charset=x",
    "application/pdf; name*=utf-8''%e2%82%ac.pdf", "application/x; a*0=one; a*1=two",
    "application/x; a*0*=utf-8''one; a*1=two", "text/plain; charset = us-ascii (comment)",
    "audio/basic;rate=8000", "message/delivery-status", "multipart/mixed", "text/x-long; " + "p=" + "v" * 90,
    "application/x; name=unquoted name.txt", "(c) text (d) / (e) plain ; charset=utf-8",
]


def address_field(rng):
    return ", ".join(rng.choice(ADDRESSES) for _ in range(rng.randint(1, 3)))


def part_header(rng):
    out = []
    if rng.random() < .8:
        out.append("Content-Type: " + rng.choice(TYPES))
    if rng.random() < .5:
        out.append("Content-Transfer-Encoding: " + rng.choice(["7bit", "BASE64", "quoted-printable", "8bit (c)", ""]))
    if rng.random() < .3:
        out.append("Content-Disposition: " + rng.choice([
            "attachment; filename=\"x.txt\"", "inline", "attachment;\r\n filename=a.b; size=3", "", "form-data; name=x"]))
    if rng.random() < .2:
        out.append("Content-ID: <" + rng.choice(["a@b", "x y", ""]) + ">")
    if rng.random() < .2:
        out.append("Content-Description: " + " ".join(rng.choices(WORDS, k=4)))
    if rng.random() < .1:
        out.append("Content-Language: " + rng.choice(["en", "en, de", "en,de (x)", ""]))
    if rng.random() < .1:
        out.append("Content-MD5: Q2hlY2sgSW50ZWdyaXR5IQ==")
    if rng.random() < .1:
        out.append("Content-Location: http://example.com/" + "x" * rng.randint(0, 9))
    rng.shuffle(out)
    return out


def text(rng):
    lines = [" ".join(rng.choices(WORDS + [".", "..", "--", "-- ", "--b"], k=rng.randint(0, 8)))
             for _ in range(rng.randint(0, 6))]
    return "\r\n".join(lines) + rng.choice(["", "\r\n", "\r\n\r\n"])


def made_part(rng, depth):
    """(header lines, body)"""
    roll = rng.random()
    if depth < 4 and roll < .35:
        mark = rng.choice(["b", "bound", "b" * rng.randint(1, 70), "=_x.y/z", "b%d" % depth, "b%d" % (depth * 11)])
        kind = rng.choice(["mixed", "alternative", "digest", "MIXED", "related; type=\"text/html\"", "report"])
        head = ["Content-Type: multipart/%s; boundary=%s" % (kind, rng.choice(['"%s"' % mark, '"%s"' % mark, "\r\n\t\"%s\"" % mark]))]
        head += [h for h in part_header(rng) if not h.startswith("Content-Type")]
        out = rng.choice(["", "preamble\r\n", "\r\n"])
        for _ in range(rng.randint(0, 3)):
            h, b = made_part(rng, depth + 1)
            out += "--" + mark + rng.choice(["", "", " ", "\t x"]) + "\r\n" + "".join(x + "\r\n" for x in h) + "\r\n" + b + "\r\n"
        if rng.random() < .8:
            out += "--" + mark + "--" + rng.choice(["", "\r\n", "\r\nepilogue\r\n"])
        return head, out
    if depth < 4 and roll < .5:
        head = ["Content-Type: message/rfc822"] + [h for h in part_header(rng) if not h.startswith("Content-Type")]
        return head, made_mail(rng, depth + 1)
    return part_header(rng), text(rng)


def made_mail(rng, depth=0):
    head = []
    for name in ("From", "To", "Cc", "Bcc", "Sender", "Reply-To"):
        if rng.random() < (.9 if name in ("From", "To") else .25):
            head.append(name + ": " + address_field(rng))
    if rng.random() < .9:
        head.append("Subject: " + " ".join(rng.choices(WORDS, k=rng.randint(0, 9))) + rng.choice(["", "\r\n folded", "\r\n\ttab  "]))
    if rng.random() < .9:
        head.append("Date: Tue, 24 Nov 2026 18:00:%02d +0000" % rng.randint(0, 59))
    if rng.random() < .9:
        head.append("Message-ID: <%d@example.com>" % rng.randint(0, 10 ** 9))
    if rng.random() < .3:
        head.append("In-Reply-To: <%d@example.com>\r\n <2@x>" % rng.randint(0, 10 ** 9))
    if rng.random() < .8:
        head.append("MIME-Version: 1.0")
    more, body = made_part(rng, depth)
    head += more
    rng.shuffle(head)
    return "".join(x + "\r\n" for x in head) + "\r\n" + body


def mutated(rng, mail):
    lines = mail.split(b"\r\n")
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(lines))
        roll = rng.random()
        if roll < .3:
            del lines[at]
        elif roll < .5:
            lines.insert(at, rng.choice(lines))
        elif roll < .7 and lines[at]:
            cut = rng.randrange(len(lines[at]))
            lines[at] = lines[at][:cut] + bytes([rng.choice(b"\"\\(),:;<>@[]-= \tx\xe4")]) + lines[at][cut:]
        elif roll < .85 and lines[at]:
            cut = rng.randrange(len(lines[at]))
            lines[at] = lines[at][:cut] + lines[at][cut + 1:]
        else:
            lines = lines[:at + 1]
        if not lines:
            lines = [b""]
    return b"\r\n".join(lines)


def crlf(data):
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"").replace(b"\n", b"\r\n")


def mails(seed, count):
    rng = random.Random(seed)
    out = []
    for path in sorted(glob.glob(CORPUS)):
        with open(path, "rb") as file:
            out.append(crlf(file.read()))
    while len(out) < count:
        out.append(made_mail(rng).encode("latin-1"))
        if len(out) % 2:
            out.append(mutated(rng, rng.choice(out)))
    return [crlf(m.replace(b"\0", b"")) for m in out[:count]]


# ---- both sides ----

def dovecot(folder, count):
    conf = os.path.join(folder, "dovecot.conf")
    with open(conf, "w", encoding="ascii") as file:
        file.write(DOVECOT.format(dir=folder))
    drop = []
    if os.getuid() == 0:  # doveadm reads no mail as root
        subprocess.run(["chown", "-R", "nobody:nogroup", folder], check=True)
        drop = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
    run = subprocess.run(
        drop + ["doveadm", "-c", conf, "-f", "pager", "fetch", "uid imap.envelope imap.bodystructure",
         "mailbox", "INBOX", "all"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
        env=dict(os.environ, HOME=folder, USER="nobody"))
    answers = run.stdout.split(b"\x0c\n")
    out = []
    for answer in answers:
        if not answer.strip():
            continue
        env = answer.index(b"imap.envelope: ")
        body = answer.index(b"\nimap.bodystructure: ")
        out.append((answer[env + 15:body], answer[body + 21:].rstrip(b"\n")))
    if len(out) != count:
        sys.exit("doveadm wrote %d of %d: %s" % (len(out), count, run.stderr.decode()[:2000]))
    return out


def ours(program, files):
    out = []
    for at in range(0, len(files), 500):
        run = subprocess.run([program] + files[at:at + 500], stdout=subprocess.PIPE, check=True)
        lines = [unescape(line) for line in run.stdout.split(b"\n")[:-1]]
        out += zip(lines[::2], lines[1::2])
    return out


def sorted_parameters(item):
    """Parameters in one order: [name, value, name, value]; there is no other list of that shape but
    languages and dispositions, which stay as they are if both sides agree."""
    if not isinstance(item, list):
        return item
    if item and len(item) % 2 == 0 and all(isinstance(x, bytes) for x in item):
        return [x for pair in sorted(zip(item[::2], item[1::2])) for x in pair]
    return [sorted_parameters(x) for x in item]


# ---- differences that we want ----

def is_address(item):
    return isinstance(item, list) and len(item) == 4 and not any(isinstance(x, (list, int)) for x in item)


def is_address_list(item):
    return isinstance(item, list) and item != [] and all(is_address(x) for x in item)


def has_unreadable_address(addresses):
    return any(b"MISSING_" in (x or b"") or x == b"SYNTAX_ERROR" for a in addresses for x in a)


def addresses_explained(theirs, mine):
    """Dovecot gives up on a list at an address that it cannot read, marks a host in front of
    something unexpected as SYNTAX_ERROR, and takes an empty element (",,") for one. We go on with
    the next address and show what can be read."""
    return is_address_list(mine) and (theirs is None or is_address_list(theirs)) and (
        theirs is None or has_unreadable_address(theirs) or len(mine) > len(theirs)
        or has_unreadable_address(mine))


def has_empty_boundary(item):
    if not isinstance(item, list):
        return False
    return any(has_empty_boundary(x) for x in item) or any(
        a == b"boundary" and b == b"" for a, b in zip(item, item[1:]))


def is_text_part(item):
    return isinstance(item, list) and len(item) == 12 and item[:2] == [b"text", b"plain"]


def differences(theirs, mine, path="", in_text=False):
    """Every place where two answers part and no explanation holds."""
    if theirs == mine:
        return []
    if addresses_explained(theirs, mine):
        return []
    # To Dovecot an empty boundary is one, and every line that begins with "--" ends a part.
    if has_empty_boundary(theirs):
        return []
    if isinstance(theirs, list) and isinstance(mine, list):
        # A type that is none is text/plain (RFC 2045 5.2); Dovecot shows what stands there.
        if (is_text_part(mine) and len(theirs) in (10, 11, 12) and isinstance(theirs[0], bytes)
                and (theirs[1] == b"" or theirs[0] == b"")):
            return []
        if len(theirs) == len(mine):
            return [x for i, (a, b) in enumerate(zip(theirs, mine)) for x in differences(
                a, b, "%s/%d" % (path, i), is_text_part(mine) and theirs[:2] == mine[:2])]
    # Dovecot leaves the parameters behind an empty one (";;") out, and takes one whose semicolon is
    # missing.
    if theirs == b"us-ascii" and mine == b"x" or (
            isinstance(theirs, list) and isinstance(mine, list) and mine[:2] == [b"cha-rset", b"x"]):
        return []
    if mine is None and isinstance(theirs, list) and theirs[0] in (b"filename", b"name"):
        return []
    # Of two encodings the first counts, also if it is empty.
    if mine == b"7bit" and theirs == b"BASE64":
        return []
    # The line end in front of a boundary belongs to it (RFC 2046 5.1.1), also behind the end of an
    # inner multipart.
    if isinstance(theirs, int) and isinstance(mine, int) and theirs in (mine + 1, mine + 2):
        return []
    if isinstance(theirs, bytes) and isinstance(mine, bytes):
        if theirs.split() == mine.split():
            return []
        # An unquoted value with octets that need quotes: we take it up to the blank or semicolon.
        if theirs != b"" and mine.startswith(theirs):
            return []
    # An empty type in a multipart/digest is the digest's default.
    if theirs == b"" and mine in (b"message", b"rfc822"):
        return []
    # An empty Content-Disposition is none.
    if theirs == [b"", None] and mine is None:
        return []
    # Dovecot forgets the other Content- fields where there is no Content-Type, or no end of the header.
    if in_text and (theirs is None or theirs == b"7bit"):
        return []
    return ["%s: %r, ours %r" % (path, theirs, mine)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("mime_show")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mails", type=int, default=2000)
    parser.add_argument("--show", type=int, default=20, help="differences to print")
    parser.add_argument("--keep", help="a folder for the mails that differ")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ringpost-mime-") as folder:
        for name in ("mail/cur", "mail/new", "mail/tmp", "run"):
            os.makedirs(os.path.join(folder, name))
        files = []
        for number, mail in enumerate(mails(args.seed, args.mails)):
            path = os.path.join(folder, "mail/cur/%010d.M%d.x:2,S" % (1700000000 + number, number))
            with open(path, "wb") as file:
                file.write(mail)
            files.append(path)
        theirs, mine = dovecot(folder, len(files)), ours(args.mime_show, files)
        same = different = 0
        for path, (their_env, their_body), (my_env, my_body) in zip(files, theirs, mine):
            for kind, a, b in (("ENVELOPE", parse_bare(their_env), parse(my_env)),
                               ("BODYSTRUCTURE", parse_bare(their_body), parse(my_body))):
                a, b = sorted_parameters(a), sorted_parameters(b)
                same += a == b
                found = differences(a, b)
                if not found:
                    continue
                different += 1
                if different <= args.show:
                    print(path.split("/")[-1], kind, found[0])
                    if args.keep:
                        shutil.copy(path, args.keep)
        print("%d mails: %d answers the same, %d explained, %d different" % (
            len(files), same, 2 * len(files) - same - different, different))
        sys.exit(different > 0)


main()
