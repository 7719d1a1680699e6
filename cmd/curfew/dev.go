package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/curfewhq/curfew/internal/app"
	"github.com/curfewhq/curfew/internal/authority"
	"github.com/curfewhq/curfew/internal/config"
	"github.com/curfewhq/curfew/internal/server"
	"github.com/spf13/cobra"
)

const (
	demoEmail    = "alice@example.com"
	demoPassword = "demo-password"
)

// firstLogout is the transcript that dev prints and README shows. Its lines
// need sh, curl and sed; what they answer stands behind them as comments.
const firstLogout = `URL=%s
TOKEN=$(curl -s $URL/token -d grant_type=password -d email=` + demoEmail + ` -d password=` + demoPassword + ` |
  sed 's/.*"access_token":"\([^"]*\)".*/\1/')
curl -s -w '\n%%{http_code}\n' -H "Authorization: Bearer $TOKEN" $URL/user            # 200
curl -s -w '\n%%{http_code}\n' -H "Authorization: Bearer $TOKEN" -X POST $URL/logout  # 200, "state":"enforced"
curl -s -w '\n%%{http_code}\n' -H "Authorization: Bearer $TOKEN" $URL/user            # 401, "session_revoked"
`

func (c *cli) devCommand() *cobra.Command {
	var listen string
	conf := config.Default()
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Try it: everything in a temporary directory, with a demo user",
		Long: `Runs an authority in a temporary directory that is removed at the end, with a
user whose password is known to all. It listens on this machine only, and reads
neither a configuration file nor the environment. Services attach themselves
without a key.`,
		Args: cobra.NoArgs,
		RunE: c.action(func(cmd *cobra.Command, _ []string) error { return c.dev(cmd.Context(), listen, conf) }),
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:8080", "address and port of this machine; port 0 takes a free one")
	// To see sessions end by themselves without waiting for days.
	cmd.Flags().DurationVar(&conf.Sessions.IdleTimeout, "idle-timeout", 0, "sessions end when their person has done nothing for this long; 0 = never")
	cmd.Flags().DurationVar(&conf.Sessions.Lifetime, "lifetime", conf.Sessions.Lifetime, "sessions end this long after the login")
	cmd.Flags().DurationVar(&conf.Tokens.AccessLife, "access-life", conf.Tokens.AccessLife, "how long an access token is good for")
	return cmd
}

func (c *cli) dev(ctx context.Context, listen string, conf config.Config) (err error) {
	if !isLoopback(listen) {
		return &usageError{fmt.Errorf("--listen is %q: dev has a user with a known password and listens on this machine only, such as 127.0.0.1:8080; use 'curfew serve' for others", listen)}
	}
	dir, err := os.MkdirTemp("", "curfew-dev-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	// A token never outlives its session; whoever asks for short sessions need
	// not ask for short tokens as well.
	conf.Tokens.AccessLife = min(conf.Tokens.AccessLife, conf.Sessions.Lifetime)
	conf.Listen, conf.Data, conf.Log.Level = listen, filepath.Join(dir, "data"), "warn"
	if err := conf.Validate(); err != nil {
		return &usageError{err}
	}
	return app.Serve(ctx, conf, app.Options{
		Version: versionText(), Logger: c.logger(conf), Seed: seedDemo, Demo: &server.Demo{Login: demoEmail, Password: demoPassword},
		Ready: func(r app.Running) {
			if c.output == "json" {
				c.printRunning(r)
				return
			}
			c.greet(r)
		},
	})
}

func seedDemo(ctx context.Context, a *authority.Authority) error {
	_, err := a.CreateUser(ctx, authority.NewUser{Email: demoEmail, Name: "Alice", Password: demoPassword}, authority.System, authority.Origin{})
	return err
}

func (c *cli) greet(r app.Running) {
	fmt.Fprintf(c.out, `Curfew is running at %s
It keeps everything in a temporary directory, which is removed when you stop it with Ctrl-C.

A first logout, to paste into another terminal:

`, r.URL)
	fmt.Fprintf(c.out, firstLogout, r.URL)
	fmt.Fprintf(c.out, `
In a browser, as %s with the password %s: %s/demo has data and a button to
log off, %s/account your devices. Sign in with two browsers, and end one from the other.
`, demoEmail, demoPassword, r.URL, r.URL)
	fmt.Fprintf(c.out, `
The operator's commands, to paste before 'curfew sessions list', 'curfew audit' and the others:

export CURFEW_AUTHORITY=%s CURFEW_OPERATOR_KEY_FILE=%s

To attach a service, which needs no key here: guard.Open(ctx, guard.Config{Authority: %q})
`, r.URL, r.OperatorKey, r.URL)
}

func parseLoopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}
