/* ringpost: the command line. `ringpost [--config FILE | --socket PATH] [--json] COMMAND ...`
 *
 * What there is stands in the table of core/command.h. Exit status: 0 done and well; 1 done, and
 * the answer is bad news, or it failed; 2 the command line is wrong; 3 no daemon, or no queue, to
 * work on. */
#include "core/cli.h"
#include "core/command_help.h"
#include "core/manual.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* The commands that the program carries out itself, or shows in its own way. */
static const struct {
    const char *noun, *verb;
    cli_run *run;
} own[] = {
    {"queue", "check", cli_queue_check},
    {"completion", "", cli_completion},
    {"manual", "", cli_manual},
    {"config", "check", cli_config_check},
    {"config", "explain", cli_config_explain},
    {"user", "add", cli_user_add},
    {"user", "passwd", cli_user_passwd},
    {"user", "delete", cli_user_delete},
    {"user", "list", cli_user_list},
    {"journal", "tail", cli_journal_tail},
    {"journal", "export", cli_journal_export},
    {"journal", "verify", cli_journal_verify},
    {"journal", "cursors", cli_journal_cursors},
    {"dkim", "new", cli_dkim_new},
    {"dkim", "dns", cli_dkim_dns},
    {"dkim", "check", cli_dkim_check},
    {"top", "", cli_top},
};

void cli_say(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("ringpost: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
}

static void print_text(void *context, struct span text)
{
    fwrite(text.data, 1, text.len, context);
}

int cli_completion(struct cli *cli)
{
    command_completion(cli->values.text[0], print_text, stdout);
    return EXIT_GOOD;
}

int cli_manual(struct cli *cli)
{
    if (!manual_page(cli->values.text[0], print_text, stdout))
        manual_commands(print_text, stdout);
    return EXIT_GOOD;
}

static int run(struct cli *cli)
{
    for (size_t i = 0; i < countof(own); i++)
        if (strcmp(own[i].noun, cli->command->noun) == 0 &&
            strcmp(own[i].verb, cli->command->verb ? cli->command->verb : "") == 0)
            return own[i].run(cli);
    return cli_run_plain(cli);
}

static int wrong(const char *what, const char *which)
{
    cli_say("%s%s", what, which);
    cli_say("`ringpost --help` lists the commands");
    return EXIT_USAGE;
}

static int version(void)
{
    printf("ringpost %s\n", RINGPOST_VERSION);
    return EXIT_GOOD;
}

/* Takes `--name VALUE` or `--name=VALUE` at *at. False: it is another option. */
static bool take_option(const char *name, int argc, char **argv, int *at, const char **ret_value)
{
    size_t len = strlen(name);
    if (strncmp(argv[*at], name, len) != 0)
        return false;
    if (argv[*at][len] == '=') {
        *ret_value = argv[*at] + len + 1;
        return true;
    }
    if (argv[*at][len] != '\0' || *at + 1 >= argc)
        return false;
    *ret_value = argv[++*at];
    return true;
}

/* Takes out what is for all commands, wherever it stands before "--"; the rest is the command's.
 * -1: go on. */
static int take_options(struct cli *cli, int argc, char **argv, int *ret_words, bool *ret_help)
{
    int words = 0, i = 1;
    for (; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--json") == 0)
            cli->json = true;
        else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            *ret_help = true;
        else if (strcmp(argv[i], "--version") == 0)
            return version();
        else if (!take_option("--config", argc, argv, &i, &cli->config) &&
                 !take_option("--socket", argc, argv, &i, &cli->socket))
            argv[words++] = argv[i]; /* never ahead of i */
    }
    for (; i < argc; i++)
        argv[words++] = argv[i];
    *ret_words = words;
    if (cli->config && cli->socket)
        return wrong("--config and --socket exclude each other", "");
    return -1;
}

static int help(int words, char **argv)
{
    struct span noun = span_string(words > 0 ? argv[0] : NULL);
    struct span verb = span_string(words > 1 ? argv[1] : NULL);
    if (!command_help(noun, verb, print_text, stdout))
        return wrong("unknown command: ", argv[0]);
    return EXIT_GOOD;
}

static void look_at_terminal(struct cli *cli)
{
    struct winsize size;
    if (!isatty(STDOUT_FILENO))
        return;
    cli->colours = !getenv("NO_COLOR");
    cli->width = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 80;
}

int main(int argc, char **argv)
{
    struct cli cli = {0};
    int words;
    bool wants_help = false;
    int status = take_options(&cli, argc, argv, &words, &wants_help);
    if (status >= 0)
        return status;
    if (wants_help)
        return help(words, argv);
    char text[512];
    struct sink error;
    sink_init(&error, text, sizeof text - 1);
    if (!command_parse(words, argv, &cli.command, &cli.values, &error)) {
        text[error.len] = '\0';
        return wrong(text, "");
    }
    look_at_terminal(&cli);
    return run(&cli);
}
