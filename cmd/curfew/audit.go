package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/curfewhq/curfew/internal/audit"
	"github.com/spf13/cobra"
)

// auditPage is the most that the authority gives at once.
const auditPage = 1000

// auditQuery selects entries.
type auditQuery struct {
	user, session, event, since, until string
	limit                              int
	follow                             bool
}

func (c *cli) auditCommand() *cobra.Command {
	var q auditQuery
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Print the audit trail",
		Long: `Prints the newest 100 entries that match, in order. With -o json it exports all
that match, one JSON object on a line, oldest first.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("unknown command %q for %q; there is %q", args[0], cmd.CommandPath(), "verify")
			}
			return nil
		},
		RunE: c.operate(func(cmd *cobra.Command, _ []string) error {
			params, err := q.params()
			if err != nil {
				return err
			}
			if q.limit < 0 {
				return &usageError{errors.New("--limit must not be negative")}
			}
			return c.audit(cmd.Context(), params, q)
		}),
	}
	f := cmd.Flags()
	f.StringVar(&q.user, "user", "", "only about this user: e-mail address, user name or id")
	f.StringVar(&q.session, "session", "", "only about this session")
	f.StringVar(&q.event, "event", "", "only this event, such as session_logout")
	f.StringVar(&q.since, "since", "", "only from this time on, or from this long ago on (24h)")
	f.StringVar(&q.until, "until", "", "only before this time, or before this long ago (24h)")
	f.IntVar(&q.limit, "limit", 0, "only the newest so many (default 100, with -o json all)")
	f.BoolVar(&q.follow, "follow", false, "go on printing new entries until interrupted")
	cmd.AddCommand(c.auditVerify())
	return c.remoteFlags(cmd)
}

func (q auditQuery) params() (map[string]string, error) {
	since, err := moment("since", q.since)
	if err != nil {
		return nil, err
	}
	until, err := moment("until", q.until)
	return map[string]string{"user": q.user, "session": q.session, "event": q.event, "since": since, "until": until}, err
}

func (c *cli) audit(ctx context.Context, params map[string]string, q auditQuery) error {
	if q.limit == 0 && c.output != "json" {
		q.limit = 100
	}
	last, err := c.auditPast(ctx, params, q.limit)
	if err != nil || !q.follow {
		return err
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if last, err = c.auditFrom(ctx, params, last); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
}

// auditPast prints the newest entries, or all for a limit of zero, and returns
// the position of the last.
func (c *cli) auditPast(ctx context.Context, params map[string]string, limit int) (int64, error) {
	if limit == 0 || limit > auditPage {
		// More than one answer holds: read all, keep what was asked for.
		if limit == 0 {
			return c.auditFrom(ctx, params, 0)
		}
		var newest []audit.Entry
		last, err := c.auditEach(ctx, params, 0, func(e audit.Entry) error {
			if newest = append(newest, e); len(newest) > limit {
				newest = newest[1:]
			}
			return nil
		})
		if err != nil {
			return last, err
		}
		return last, c.printEntries(newest)
	}
	params["newest"], params["limit"] = "true", strconv.Itoa(limit)
	entries, err := c.auditEntries(ctx, params)
	delete(params, "newest")
	if err != nil || len(entries) == 0 {
		return 0, err
	}
	return entries[len(entries)-1].Seq, c.printEntries(entries)
}

func (c *cli) auditFrom(ctx context.Context, params map[string]string, after int64) (int64, error) {
	return c.auditEach(ctx, params, after, func(e audit.Entry) error { return c.printEntries([]audit.Entry{e}) })
}

// auditEach calls f for every entry after a position, page by page, and returns
// the position of the last.
func (c *cli) auditEach(ctx context.Context, params map[string]string, after int64, f func(audit.Entry) error) (int64, error) {
	for {
		params["after"], params["limit"] = strconv.FormatInt(after, 10), strconv.Itoa(auditPage)
		entries, err := c.auditEntries(ctx, params)
		if err != nil {
			return after, err
		}
		for _, e := range entries {
			if err := f(e); err != nil {
				return after, err
			}
			after = e.Seq
		}
		if len(entries) < auditPage {
			return after, nil
		}
	}
}

func (c *cli) auditEntries(ctx context.Context, params map[string]string) ([]audit.Entry, error) {
	var body struct {
		Entries []audit.Entry `json:"entries"`
	}
	err := c.call(ctx, "GET", withQuery("/admin/audit", params), nil, &body)
	return body.Entries, err
}

func (c *cli) printEntries(entries []audit.Entry) error {
	for _, e := range entries {
		if c.output == "json" {
			if err := c.printJSON(e); err != nil {
				return err
			}
			continue
		}
		writeEntry(c.out, e)
	}
	return nil
}

func writeEntry(w io.Writer, e audit.Entry) {
	line := fmt.Sprintf("%6d  %s  %-22s %s", e.Seq, e.At.UTC().Format("2006-01-02 15:04:05"), e.Event, e.Actor)
	count := ""
	if e.Count > 0 {
		count = strconv.FormatInt(e.Count, 10)
	}
	for _, part := range [][2]string{
		{"subject", e.Subject}, {"session", e.Session}, {"client", e.ClientID}, {"reason", string(e.Reason)},
		{"sessions", count}, {"ip", e.IP}, {"detail", e.Detail},
	} {
		if part[1] != "" {
			line += " " + part[0] + "=" + part[1]
		}
	}
	fmt.Fprintln(w, clean(line))
}

var errAuditBroken = errors.New("the audit trail is broken")

func (c *cli) auditVerify() *cobra.Command {
	var anchor string
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check that no entry was changed, removed or added",
		Long: `Checks the hash chain of the whole trail and prints its end as an anchor,
SEQ:HASH. Keep that somewhere else: given as --anchor later, it detects a trail
that was recomputed as a whole or cut off. Exits with 1 if the trail is broken.`,
		Args: cobra.NoArgs,
		RunE: c.operate(func(cmd *cobra.Command, _ []string) error {
			var body struct {
				OK      bool       `json:"ok"`
				Head    audit.Head `json:"head"`
				Problem string     `json:"problem,omitempty"`
			}
			if err := c.call(cmd.Context(), "GET", withQuery("/admin/audit/verify", map[string]string{"anchor": anchor}), nil, &body); err != nil {
				return err
			}
			if err := c.print(body, func(w io.Writer) {
				if body.OK {
					fmt.Fprintf(w, "ok · %d entries · anchor %d:%s\n", body.Head.Seq, body.Head.Seq, body.Head.Hash)
				}
			}); err != nil || body.OK {
				return err
			}
			if body.Problem == "" {
				return errAuditBroken
			}
			return errors.New(body.Problem)
		}),
	}
	cmd.Flags().StringVar(&anchor, "anchor", "", "SEQ:HASH as an earlier verification printed it")
	return cmd
}
