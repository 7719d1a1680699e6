package main

import (
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

// verifiers are the keys of verifiers and the processes that use them.
type verifiers struct {
	Keys      []apiKey   `json:"verifiers"`
	Instances []instance `json:"instances"`
}

// instance is a process of a verifier.
type instance struct {
	Verifier string `json:"verifier"`
	Instance string `json:"instance"`
	State    string `json:"state"`
	Applied  int64  `json:"applied"`
	Lag      int64  `json:"lag"`
	LeaseMS  int64  `json:"lease_ms"`
	Since    string `json:"since"`
	PolledAt string `json:"polled_at"`
}

func (c *cli) verifierList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the keys, and the processes that use them", Args: cobra.NoArgs,
		Long: `Lists the keys by name, and below them the processes that use them: live with a
lease, lapsed where it ran out in the last ten minutes. WATERMARK is the position
of the log that a process has acknowledged, LAG how many entries it has not, LEASE
what is left of its lease.`,
		RunE: c.operate(func(cmd *cobra.Command, _ []string) error {
			var body verifiers
			if err := c.call(cmd.Context(), "GET", "/admin/verifiers", nil, &body); err != nil {
				return err
			}
			return c.print(body, func(w io.Writer) {
				writeAPIKeys(w, body.Keys)
				if len(body.Instances) > 0 {
					fmt.Fprintln(w)
					writeInstances(w, body.Instances)
				}
			})
		}),
	}
}

func writeInstances(w io.Writer, list []instance) {
	var rows [][]string
	for _, i := range list {
		rows = append(rows, []string{
			i.Verifier, i.Instance, i.State, strconv.FormatInt(i.Applied, 10), strconv.FormatInt(i.Lag, 10),
			(time.Duration(i.LeaseMS) * time.Millisecond).Round(100 * time.Millisecond).String(), minutes(i.Since),
		})
	}
	table(w, []string{"VERIFIER", "INSTANCE", "STATE", "WATERMARK", "LAG", "LEASE", "SINCE"}, rows)
}
