package main

import (
	"context"
	"fmt"
	"io"
	"net/url"

	"github.com/curfewhq/curfew/internal/app"
	"github.com/spf13/cobra"
)

// signingKey is a key of the authority as it shows it to operators.
type signingKey struct {
	ID        string `json:"kid"`
	Alg       string `json:"alg"`
	Use       string `json:"use"`
	Status    string `json:"status"`
	CreatedAt string `json:"created_at"`
	ChangedAt string `json:"changed_at"`
}

func (c *cli) keysCommand() *cobra.Command {
	return c.remoteFlags(group("keys", "List, rotate and revoke signing keys",
		&cobra.Command{
			Use: "list", Short: "List the signing keys", Args: cobra.NoArgs,
			RunE: c.operate(func(cmd *cobra.Command, _ []string) error {
				return c.keysCall(cmd.Context(), "GET", "/admin/keys")
			}),
		},
		&cobra.Command{
			Use: "rotate", Short: "Sign with another key from now on; tokens of the last one stay good until they expire", Args: cobra.NoArgs,
			RunE: c.operate(func(cmd *cobra.Command, _ []string) error {
				return c.keysCall(cmd.Context(), "POST", "/admin/keys/rotate")
			}),
		},
		&cobra.Command{
			Use: "revoke KID", Short: "Refuse every token of a key at once; another takes its place", Args: cobra.ExactArgs(1),
			RunE: c.operate(func(cmd *cobra.Command, args []string) error {
				return c.ending(cmd.Context(), "POST", "/admin/keys/"+url.PathEscape(args[0])+"/revoke", nil)
			}),
		},
	))
}

func (c *cli) keysCall(ctx context.Context, method, path string) error {
	var body struct {
		Keys []signingKey `json:"keys"`
	}
	if err := c.call(ctx, method, path, nil, &body); err != nil {
		return err
	}
	return c.print(body, func(w io.Writer) {
		var rows [][]string
		for _, k := range body.Keys {
			rows = append(rows, []string{k.ID, k.Alg, k.Status, minutes(k.CreatedAt), minutes(k.ChangedAt)})
		}
		table(w, []string{"KID", "ALG", "STATUS", "CREATED", "SINCE"}, rows)
	})
}

// apiKey is a key that was given out, or, with its secret, one just made.
type apiKey struct {
	Name      string `json:"name"`
	Kind      string `json:"kind"`
	CreatedAt string `json:"created_at"`
}

// newKey is a key that was just made: its secret is shown this once.
type newKey struct {
	Name string `json:"name"`
	Key  string `json:"key"`
}

// apiKeysCommand is for the keys of operators or of verifiers.
func (c *cli) apiKeysCommand(kind string) *cobra.Command {
	path := "/admin/" + kind + "s"
	what := map[string]string{
		"operator": "operators: who holds one may use all these commands",
		"verifier": "verifiers: services that check tokens, by the feed or by asking (POST /introspect)",
	}[kind]
	list := &cobra.Command{
		Use: "list", Short: "List the keys by name", Args: cobra.NoArgs,
		RunE: c.operate(func(cmd *cobra.Command, _ []string) error {
			body := map[string][]apiKey{}
			if err := c.call(cmd.Context(), "GET", path, nil, &body); err != nil {
				return err
			}
			return c.print(body, func(w io.Writer) { writeAPIKeys(w, body[kind+"s"]) })
		}),
	}
	if kind == "verifier" {
		list = c.verifierList()
	}
	remove := &cobra.Command{
		Use: "remove NAME", Short: "Make a key worthless at once", Args: cobra.ExactArgs(1),
		RunE: c.operate(func(cmd *cobra.Command, args []string) error {
			if err := c.call(cmd.Context(), "DELETE", path+"/"+url.PathEscape(args[0]), nil, nil); err != nil {
				return err
			}
			return c.print(map[string]string{"removed": args[0]}, func(w io.Writer) { fmt.Fprintln(w, "removed", clean(args[0])) })
		}),
	}
	return c.remoteFlags(group(kind+"s", "Keys of "+what, c.apiKeyAdd(kind, path), list, remove))
}

func writeAPIKeys(w io.Writer, keys []apiKey) {
	var rows [][]string
	for _, k := range keys {
		rows = append(rows, []string{k.Name, minutes(k.CreatedAt)})
	}
	table(w, []string{"NAME", "CREATED"}, rows)
}

func (c *cli) apiKeyAdd(kind, path string) *cobra.Command {
	cmd := &cobra.Command{Use: "add NAME", Short: "Make a key and print it, this once", Args: cobra.ExactArgs(1)}
	print := func(k newKey) error {
		return c.print(k, func(w io.Writer) { fmt.Fprintln(w, clean(k.Key)) })
	}
	online := c.operate(func(cmd *cobra.Command, args []string) error {
		var k newKey
		if err := c.call(cmd.Context(), "POST", path, map[string]string{"name": args[0]}, &k); err != nil {
			return err
		}
		return print(k)
	})
	cmd.RunE = online
	if kind != "operator" {
		return cmd
	}
	var offline bool
	load := configFlags(cmd, []string{"data", "store"})
	cmd.Flags().BoolVar(&offline, "offline", false, "make it in the data directory while no authority runs, for when the last key is lost")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !offline {
			return online(cmd, args)
		}
		return c.action(func(cmd *cobra.Command, args []string) error {
			conf, err := load()
			if err != nil {
				return err
			}
			secret, err := app.AddOperator(cmd.Context(), conf, args[0], c.warnings)
			if err != nil {
				return err
			}
			return print(newKey{Name: args[0], Key: secret})
		})(cmd, args)
	}
	return cmd
}
