/* cli: what the files of the command line program share (core/cli_*.c; nothing else includes it).
 *
 * cli_main.c finds the command by the table (core/command.h); a local command has a function here,
 * every other one goes to the daemon (cli_call) and its records are shown as its table says
 * (cli_show). */
#pragma once

#include "core/command.h"
#include "core/control_frame.h"

/* What the program ends with. */
enum exit_status {
    EXIT_GOOD,
    EXIT_BAD,         /* done, and the answer is bad news; or it failed */
    EXIT_USAGE,       /* the command line is wrong */
    EXIT_UNREACHABLE, /* no daemon (or, without one, no file) to work on */
};

struct cli {
    const char *config, *socket; /* NULL: not given */
    bool json, colours;
    unsigned width; /* of the terminal; 0: not a terminal */
    const struct command *command;
    struct values values;
};

/* "ringpost: text" on standard error. */
void cli_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- cli_client.c ---- */

/* One record: a JSON object, borrowed until return. False: no more, the call ends. */
typedef bool cli_on_record(void *context, struct span object);

/* Has the daemon carry out `command`. The result is the exit status; what is wrong was said on
 * standard error. The socket is that of --socket, else of the configuration. */
int cli_call(const struct cli *cli, const struct command *command, const struct values *values,
             cli_on_record *on_record, void *context);

/* ---- cli_show.c ---- */

struct cli_show;
/* Shows records to a person, or as they are with --json. NULL: no memory. */
struct cli_show *cli_show_new(const struct cli *cli, const struct command *command);
bool cli_show_record(void *show, struct span object); /* a cli_on_record */
/* What was held back to find the widths of columns. */
struct cli_show *cli_show_end(struct cli_show *show);

/* cli_call and cli_show together: what a command does that has nothing special. */
int cli_run_plain(struct cli *cli);

/* ---- local commands ---- */
typedef int cli_run(struct cli *cli);
cli_run cli_queue_check, cli_top;
cli_run cli_completion, cli_manual, cli_config_check, cli_config_explain;
/* `ringpost user`: the password file. */
cli_run cli_user_add;
cli_run cli_user_passwd;
cli_run cli_user_delete;
cli_run cli_user_list;
/* `ringpost dkim`: keys made, shown as DNS records, and held against DNS. */
cli_run cli_dkim_new;
cli_run cli_dkim_dns;
cli_run cli_dkim_check;
/* `ringpost journal`: read where it lies, also while the daemon runs. */
cli_run cli_journal_tail;
cli_run cli_journal_export;
cli_run cli_journal_verify;
cli_run cli_journal_cursors;
