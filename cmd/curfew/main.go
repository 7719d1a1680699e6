package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// version is set by the build of a release.
var version = ""

func versionText() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}

// cli is one run of the command.
type cli struct {
	in       io.Reader
	out, err io.Writer

	output   string // -o
	remote   remote
	reached  bool // the command line was understood, a command is running
	warnings *slog.Logger
}

// run carries out one command line and returns its exit code. Tests call it as
// main does.
func run(args []string, in io.Reader, out, errOut io.Writer) int {
	c := &cli{in: in, out: out, err: errOut, warnings: slog.New(slog.NewTextHandler(errOut, nil))}
	root := c.root()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// Only the first signal is a request. Whoever sends another wants it now.
	context.AfterFunc(ctx, stop)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	var usage *usageError
	if !c.reached && !errors.As(err, &usage) {
		err = &usageError{err}
	}
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintln(errOut, "curfew: "+clean(strings.TrimRight(line, "\n")))
	}
	return exitCode(err)
}

func (c *cli) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "curfew",
		Short: "Ends sessions and proves it",
		Long: `Curfew logs people in and ends their sessions: once a logout has been answered,
the tokens of the session are refused.

  curfew dev      try it: everything in a temporary directory, with a demo user
  curfew serve    run the authority

The other commands talk to a running authority (--authority, --operator-key-file).
Exit codes: 'curfew help exit-codes'.`,
		Args:          noSuchCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w; see '%s --help'", err, cmd.CommandPath())
	})
	root.PersistentFlags().StringVarP(&c.output, "output", "o", "text", "form of what is printed: text or json")
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		if c.output != "text" && c.output != "json" {
			return &usageError{fmt.Errorf("--output is %q: must be text or json", c.output)}
		}
		return nil
	}
	root.AddGroup(
		&cobra.Group{ID: "run", Title: "Run:"},
		&cobra.Group{ID: "operate", Title: "Operate a running authority:"},
		&cobra.Group{ID: "offline", Title: "Offline:"},
	)
	add := func(group string, cmds ...*cobra.Command) {
		for _, cmd := range cmds {
			cmd.GroupID = group
			root.AddCommand(cmd)
		}
	}
	add("run", c.serveCommand(), c.devCommand())
	add("operate", c.usersCommand(), c.sessionsCommand(), c.logoutCommand(), c.keysCommand(),
		c.apiKeysCommand("operator"), c.apiKeysCommand("verifier"), c.auditCommand(), c.backupCommand(), c.doctorCommand())
	add("offline", c.restoreCommand(), c.configCommand())
	root.AddCommand(c.versionCommand(), exitCodesTopic())
	return root
}

// action marks the point from which an error is no longer one of usage.
func (c *cli) action(f func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		c.reached = true
		return f(cmd, args)
	}
}

// noSuchCommand refuses the arguments of a command that takes none but the names
// of others.
func noSuchCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	text := fmt.Sprintf("unknown command %q for %q", args[0], cmd.CommandPath())
	// cobra fills in its default only on the way that is not taken here.
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return fmt.Errorf("%s; did you mean %s?", text, strings.Join(near, " or "))
	}
	return fmt.Errorf("%s; see '%s --help'", text, cmd.CommandPath())
}

// group is a command that only has others below it. By itself cobra would print
// the help for a name that it does not know and report success.
func group(use, short string, sub ...*cobra.Command) *cobra.Command {
	g := &cobra.Command{Use: use, Short: short, Args: noSuchCommand}
	g.RunE = func(cmd *cobra.Command, _ []string) error {
		_ = cmd.Help()
		return errors.New("give one of the commands above")
	}
	g.AddCommand(sub...)
	return g
}

func (c *cli) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: c.action(func(*cobra.Command, []string) error {
			return c.print(map[string]string{"version": versionText()}, func(w io.Writer) { fmt.Fprintln(w, "curfew", versionText()) })
		}),
	}
}
