package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/curfewhq/curfew/internal/app"
	"github.com/curfewhq/curfew/internal/config"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func (c *cli) serveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the authority",
		Long: `Runs the authority until it is interrupted. No flag is needed: the first start
makes the data directory, the master key, the store and an operator key.

Every flag can also be set in the environment (--public-url is CURFEW_PUBLIC_URL)
and in a YAML file (public_url). A flag goes before a variable before the file.`,
		Args: cobra.NoArgs,
	}
	load := configFlags(cmd, nil)
	cmd.RunE = c.action(func(cmd *cobra.Command, _ []string) error {
		start := time.Now()
		conf, err := load()
		if err != nil {
			return err
		}
		logger := c.logger(conf)
		return app.Serve(cmd.Context(), conf, app.Options{
			Version: versionText(), Logger: logger,
			Ready: func(r app.Running) {
				logger.Info("ready", "url", r.URL, "issuer", r.Issuer, "operator_key", r.OperatorKey,
					"version", versionText(), "after", time.Since(start).Round(time.Millisecond))
				if c.output == "json" {
					c.printRunning(r)
				}
			},
		})
	})
	return cmd
}

func (c *cli) printRunning(r app.Running) {
	_ = c.printJSON(map[string]string{"url": r.URL, "issuer": r.Issuer, "operator_key_file": r.OperatorKey})
}

func (c *cli) logger(conf config.Config) *slog.Logger {
	options := &slog.HandlerOptions{Level: app.LogLevel(conf)}
	if conf.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(c.err, options))
	}
	return slog.New(slog.NewTextHandler(c.err, options))
}

// configFlags adds --config and the flags of the options that are named, or of
// all, and returns what loads the configuration.
func configFlags(cmd *cobra.Command, only []string) func() (config.Config, error) {
	flags := cmd.Flags()
	// What is most often given comes first in the help, as the options do.
	flags.SortFlags = false
	file := flags.String("config", os.Getenv("CURFEW_CONFIG"), "YAML file with the configuration (CURFEW_CONFIG)")
	keys := map[string]string{}
	for _, o := range config.Options() {
		if o.Flag == "" || len(only) > 0 && !slices.Contains(only, o.Key) {
			continue
		}
		keys[o.Flag] = o.Key
		flags.Var(&option{text: o.Default, kind: o.Type}, o.Flag, o.Doc)
	}
	return func() (config.Config, error) {
		given := map[string]string{}
		flags.Visit(func(f *pflag.Flag) {
			if key, ok := keys[f.Name]; ok {
				given[key] = f.Value.String()
			}
		})
		conf, err := config.Load(config.Sources{File: *file, Environ: os.Environ(), Flags: given})
		if err != nil {
			return conf, &usageError{err}
		}
		return conf, nil
	}
}

// option is a flag that is kept as text: all sources are converted in one
// place, internal/config.
type option struct{ text, kind string }

func (o *option) String() string     { return o.text }
func (o *option) Set(s string) error { o.text = s; return nil }
func (o *option) Type() string       { return o.kind }

func (c *cli) configCommand() *cobra.Command {
	validate := &cobra.Command{Use: "validate", Short: "List everything that is wrong with the configuration", Args: cobra.NoArgs}
	loadValidate := configFlags(validate, nil)
	validate.RunE = c.action(func(*cobra.Command, []string) error {
		if _, err := loadValidate(); err != nil {
			return err
		}
		return c.print(map[string]bool{"ok": true}, func(w io.Writer) { fmt.Fprintln(w, "the configuration is valid") })
	})
	show := &cobra.Command{Use: "print", Short: "Print the configuration in effect, without its secrets", Args: cobra.NoArgs}
	loadPrint := configFlags(show, nil)
	show.RunE = c.action(func(*cobra.Command, []string) error {
		conf, err := loadPrint()
		if err != nil {
			return err
		}
		all := map[string]string{}
		for _, a := range conf.LogValue().Group() {
			all[a.Key] = a.Value.String()
		}
		return c.print(all, func(w io.Writer) { _ = conf.Print(w) })
	})
	return group("config", "Check and print the configuration of 'curfew serve'", validate, show)
}

func (c *cli) restoreCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Put a backup in place of a store that is gone",
		Long: `Puts a backup into a data directory that has no store, while no authority runs.

Logouts since the backup are not in it, so nothing that was issued before counts
any more: everybody has to log in again. New signing keys are made at the next
start, so the master key of old is not needed.`,
		Args: cobra.ExactArgs(1),
	}
	// Verifiers of the store that is gone may hold leases of that length.
	load := configFlags(cmd, []string{"data", "store", "feed.lease"})
	cmd.RunE = c.action(func(cmd *cobra.Command, args []string) error {
		conf, err := load()
		if err != nil {
			return err
		}
		r, err := app.Restore(cmd.Context(), conf, args[0], c.warnings)
		if err != nil {
			return err
		}
		next := "everybody has to log in again; new signing keys are made at the next start"
		if r.MasterKey != "" {
			next += ", with a new master key in " + r.MasterKey
		}
		return c.print(map[string]any{"store": r.Store, "everybody_logged_out": true, "new_master_key": r.MasterKey != ""},
			func(w io.Writer) { fmt.Fprintf(w, "restored %s\n%s\n", r.Store, next) })
	})
	return cmd
}

// isLoopback reports whether an address to listen on is one of this machine
// only. A name other than localhost could come to mean another address.
func isLoopback(listen string) bool {
	host := listen
	if i := strings.LastIndexByte(listen, ':'); i >= 0 {
		host = strings.Trim(listen[:i], "[]")
	}
	return host == "localhost" || parseLoopback(host)
}
