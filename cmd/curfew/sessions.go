package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// session is a session as the authority shows it to operators.
type session struct {
	ID         string `json:"id"`
	Subject    string `json:"subject"`
	ClientID   string `json:"client_id"`
	Device     string `json:"device"`
	UserAgent  string `json:"user_agent,omitempty"`
	IP         string `json:"ip,omitempty"`
	CreatedAt  string `json:"created_at"`
	LastSeenAt string `json:"last_seen_at"`
	ExpiresAt  string `json:"expires_at"`
	EndedAt    string `json:"ended_at,omitempty"`
	EndReason  string `json:"end_reason,omitempty"`
	EndedSeq   int64  `json:"ended_seq,omitempty"`
}

// receipt is the answer to everything that ends something.
type receipt struct {
	Message       string `json:"message"`
	Timestamp     string `json:"timestamp"`
	SessionsEnded int64  `json:"sessions_ended"`
	Revocation    struct {
		Seq            int64   `json:"seq"`
		State          string  `json:"state"`
		Verifiers      int64   `json:"verifiers"`
		TookMS         int64   `json:"took_ms"`
		Unacknowledged []lapse `json:"unacknowledged,omitempty"`
	} `json:"revocation"`
}

// lapse is a verifier that has not acknowledged a revocation.
type lapse struct {
	Verifier   string `json:"verifier"`
	Instance   string `json:"instance"`
	LeaseUntil string `json:"lease_until"`
}

func (r receipt) write(w io.Writer) {
	v := r.Revocation
	parts := []string{fmt.Sprintf("seq %d", v.Seq), v.State, plural(r.SessionsEnded, "session") + " ended"}
	if v.Verifiers > 0 {
		parts = append(parts, plural(v.Verifiers, "verifier"))
	}
	parts = append(parts, fmt.Sprintf("%d ms", v.TookMS))
	fmt.Fprintln(w, clean(strings.Join(parts, " · ")))
	for _, l := range v.Unacknowledged {
		what := "has not acknowledged; its lease ends at"
		if v.State == "enforced" {
			what = "did not acknowledge; its lease was over at"
		}
		fmt.Fprintln(w, clean(fmt.Sprintf("  %s %s %s %s", l.Verifier, l.Instance, what, l.LeaseUntil)))
	}
}

// ending makes a call that ends something and prints its receipt.
func (c *cli) ending(ctx context.Context, method, path string, body any) error {
	var r receipt
	if err := c.call(ctx, method, path, body, &r); err != nil {
		return err
	}
	return c.print(r, r.write)
}

// maybeEnding is ending, or a dry run of it.
func (c *cli) maybeEnding(ctx context.Context, path string, body map[string]any, dry bool) error {
	if !dry {
		return c.ending(ctx, "POST", path, body)
	}
	body["dry_run"] = true
	var r struct {
		DryRun   bool  `json:"dry_run"`
		WouldEnd int64 `json:"would_end"`
	}
	if err := c.call(ctx, "POST", path, body, &r); err != nil {
		return err
	}
	if !r.DryRun {
		return errors.New("the authority did not answer a dry run as one; look at 'curfew audit' for what it did")
	}
	return c.print(r, func(w io.Writer) { fmt.Fprintf(w, "dry run: %s would end\n", plural(r.WouldEnd, "session")) })
}

// why is what an operator says about an ending.
type why struct{ reason, note string }

func (y *why) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&y.reason, "reason", "admin", "admin, suspicious or compromised; with the last two, a user who is logged out has to set another password")
	cmd.Flags().StringVar(&y.note, "note", "", "free text for the audit trail")
}

func (c *cli) sessionsCommand() *cobra.Command {
	return c.remoteFlags(group("sessions", "Search and end sessions", c.sessionList(), c.sessionEnd(), c.sessionEndMatching()))
}

func (c *cli) sessionList() *cobra.Command {
	var user, client, ip, created, seen string
	var live, all bool
	cmd := &cobra.Command{
		Use: "list", Short: "List sessions, the first 100 unless --all is given", Args: cobra.NoArgs,
		RunE: c.operate(func(cmd *cobra.Command, _ []string) error {
			params := map[string]string{"user": user, "client_id": client, "ip": ip}
			var err error
			if params["created_before"], err = moment("created-before", created); err != nil {
				return err
			}
			if params["seen_before"], err = moment("seen-before", seen); err != nil {
				return err
			}
			if live {
				params["live"] = "true"
			}
			found, more, err := c.findSessions(cmd.Context(), params, all)
			if err != nil {
				return err
			}
			if more {
				c.warnings.Warn("there are more sessions than these; list them with --all")
			}
			return c.print(map[string]any{"sessions": found, "more": more}, func(w io.Writer) { writeSessions(w, found) })
		}),
	}
	f := cmd.Flags()
	f.StringVar(&user, "user", "", "only of this user: e-mail address, user name or id")
	f.StringVar(&client, "client", "", "only of this client id")
	f.StringVar(&ip, "ip", "", "only from this address")
	f.StringVar(&created, "created-before", "", "only those that began before this time, or this long ago (24h)")
	f.StringVar(&seen, "seen-before", "", "only those last seen before this time, or this long ago (24h)")
	f.BoolVar(&live, "live", false, "only those that have not ended")
	f.BoolVar(&all, "all", false, "all of them, not only the first 100")
	return cmd
}

// findSessions returns the sessions that match, and whether there are more.
func (c *cli) findSessions(ctx context.Context, params map[string]string, all bool) ([]session, bool, error) {
	if all {
		params["limit"] = "1000"
	}
	found := []session{}
	for {
		var page struct {
			Sessions []session `json:"sessions"`
			Next     string    `json:"next"`
		}
		if err := c.call(ctx, "GET", withQuery("/admin/sessions", params), nil, &page); err != nil {
			return nil, false, err
		}
		found = append(found, page.Sessions...)
		if page.Next == "" || !all {
			return found, page.Next != "", nil
		}
		params["after"] = page.Next
	}
}

func writeSessions(w io.Writer, sessions []session) {
	var rows [][]string
	for _, s := range sessions {
		state := "live"
		if s.EndedAt != "" {
			state = "ended: " + s.EndReason
		}
		rows = append(rows, []string{s.ID, s.Subject, s.ClientID, s.Device, s.IP, minutes(s.CreatedAt), minutes(s.LastSeenAt), state})
	}
	table(w, []string{"ID", "USER", "CLIENT", "DEVICE", "IP", "CREATED", "LAST SEEN", "STATE"}, rows)
}

func (c *cli) sessionEnd() *cobra.Command {
	var y why
	cmd := &cobra.Command{
		Use: "end ID", Short: "End one session", Args: cobra.ExactArgs(1),
		RunE: c.operate(func(cmd *cobra.Command, args []string) error {
			path := withQuery("/admin/sessions/"+url.PathEscape(args[0]), map[string]string{"reason": y.reason, "note": y.note})
			return c.ending(cmd.Context(), "DELETE", path, nil)
		}),
	}
	y.flags(cmd)
	return cmd
}

func (c *cli) sessionEndMatching() *cobra.Command {
	var y why
	var user, client, ip, created, seen string
	var dry bool
	cmd := &cobra.Command{
		Use: "end-matching", Short: "End all live sessions that match every condition given", Args: cobra.NoArgs,
		Example: `  curfew sessions end-matching --ip 203.0.113.7 --reason suspicious --dry-run
  curfew sessions end-matching --client mobile --seen-before 720h`,
		RunE: c.operate(func(cmd *cobra.Command, _ []string) error {
			body := map[string]any{"user": user, "client_id": client, "ip": ip, "reason": y.reason, "note": y.note}
			for name, text := range map[string]string{"created-before": created, "seen-before": seen} {
				at, err := moment(name, text)
				if err != nil {
					return err
				}
				body[map[string]string{"created-before": "created_before", "seen-before": "seen_before"}[name]] = at
			}
			return c.maybeEnding(cmd.Context(), "/admin/sessions/end", body, dry)
		}),
	}
	f := cmd.Flags()
	f.StringVar(&user, "user", "", "of this user: e-mail address, user name or id")
	f.StringVar(&client, "client", "", "of this client id")
	f.StringVar(&ip, "ip", "", "from this address")
	f.StringVar(&created, "created-before", "", "begun before this time, or this long ago (24h)")
	f.StringVar(&seen, "seen-before", "", "last seen before this time, or this long ago (24h)")
	f.BoolVar(&dry, "dry-run", false, "only say how many would end")
	y.flags(cmd)
	cmd.MarkFlagsOneRequired("user", "client", "ip", "created-before", "seen-before")
	return cmd
}

// moment reads a time, or how long ago it was.
func moment(flag, text string) (string, error) {
	if text == "" {
		return "", nil
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return time.Now().UTC().Add(-d).Format(time.RFC3339Nano), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC().Format(time.RFC3339Nano), nil
		}
	}
	return "", &usageError{fmt.Errorf("--%s is %q: must be a time such as 2026-11-20T10:30:00Z or 2026-11-20, or how long ago, such as 24h", flag, text)}
}

func (c *cli) logoutCommand() *cobra.Command {
	var y why
	var user, session, client string
	var everybody, dry, yes bool
	cmd := &cobra.Command{
		Use: "logout", Short: "End sessions of a user, of a client, or of everybody, and print the receipt", Args: cobra.NoArgs,
		Example: `  curfew logout --user alice@example.com --reason compromised --note "laptop stolen"
  curfew logout --client mobile --dry-run
  curfew logout --everybody --yes`,
	}
	cmd.RunE = c.operate(func(cmd *cobra.Command, _ []string) error {
		if (everybody || client != "") && !dry && !yes {
			return &usageError{errors.New("this ends the sessions of many; look with --dry-run, then repeat it with --yes")}
		}
		body := map[string]any{"user": user, "session": session, "client": client, "everybody": everybody, "reason": y.reason, "note": y.note}
		return c.maybeEnding(cmd.Context(), "/admin/logout", body, dry)
	})
	f := cmd.Flags()
	f.StringVar(&user, "user", "", "every session of this user: e-mail address, user name or id")
	f.StringVar(&session, "session", "", "the session with this id")
	f.StringVar(&client, "client", "", "every session of this client id")
	f.BoolVar(&everybody, "everybody", false, "every session there is")
	f.BoolVar(&dry, "dry-run", false, "only say how many would end")
	f.BoolVar(&yes, "yes", false, "confirm --client or --everybody")
	y.flags(cmd)
	cmd.MarkFlagsOneRequired("user", "session", "client", "everybody")
	cmd.MarkFlagsMutuallyExclusive("user", "session", "client", "everybody")
	return c.remoteFlags(cmd)
}
