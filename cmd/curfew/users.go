package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
)

// user is an account as the authority shows it to operators.
type user struct {
	ID         string   `json:"id"`
	Email      string   `json:"email"`
	Username   string   `json:"username,omitempty"`
	Name       string   `json:"name,omitempty"`
	Roles      []string `json:"roles"`
	Status     string   `json:"status"`
	MustChange bool     `json:"must_change_password"`
	Epoch      int64    `json:"epoch"`
	CreatedAt  string   `json:"created_at"`
	UpdatedAt  string   `json:"updated_at"`
}

func (u user) write(w io.Writer) {
	for _, row := range [][2]string{
		{"id", u.ID}, {"email", u.Email}, {"username", u.Username}, {"name", u.Name},
		{"roles", strings.Join(u.Roles, " ")}, {"status", u.Status}, {"must change password", yesNo(u.MustChange)},
		{"created", minutes(u.CreatedAt)}, {"updated", minutes(u.UpdatedAt)},
	} {
		if row[1] != "" {
			fmt.Fprintf(w, "%-21s %s\n", row[0], clean(row[1]))
		}
	}
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func (c *cli) usersCommand() *cobra.Command {
	return c.remoteFlags(group("users", "Create, disable and delete accounts",
		c.userAdd(), c.userList(),
		&cobra.Command{
			Use: "show NAME", Short: "Show an account, named by e-mail address, user name or id", Args: cobra.ExactArgs(1),
			RunE: c.operate(func(cmd *cobra.Command, args []string) error {
				return c.userCall(cmd.Context(), "GET", userPath(args[0]), nil)
			}),
		},
		&cobra.Command{
			Use: "enable NAME", Short: "Let a disabled user log in again", Args: cobra.ExactArgs(1),
			RunE: c.operate(func(cmd *cobra.Command, args []string) error {
				return c.userCall(cmd.Context(), "POST", userPath(args[0])+"/enable", nil)
			}),
		},
		&cobra.Command{
			Use: "disable NAME", Short: "Keep a user out and end every session of it", Args: cobra.ExactArgs(1),
			RunE: c.operate(func(cmd *cobra.Command, args []string) error {
				return c.ending(cmd.Context(), "POST", userPath(args[0])+"/disable", nil)
			}),
		},
		&cobra.Command{
			Use: "delete NAME", Short: "Remove a user and end every session of it", Args: cobra.ExactArgs(1),
			RunE: c.operate(func(cmd *cobra.Command, args []string) error {
				return c.ending(cmd.Context(), "DELETE", userPath(args[0]), nil)
			}),
		},
		c.userSetPassword(),
	))
}

func userPath(name string) string { return "/admin/users/" + url.PathEscape(name) }

func (c *cli) userCall(ctx context.Context, method, path string, body any) error {
	var u user
	if err := c.call(ctx, method, path, body, &u); err != nil {
		return err
	}
	return c.print(u, u.write)
}

func (c *cli) userAdd() *cobra.Command {
	var username, name string
	var roles []string
	var fromStdin, hashFromStdin, mustChange bool
	cmd := &cobra.Command{
		Use:   "add EMAIL",
		Short: "Create an account; its password is read from standard input",
		Args:  cobra.ExactArgs(1),
		Example: `  curfew users add alice@example.com --password-stdin < password.txt
  curfew users add bob@example.com --password-stdin --role admin --must-change < password.txt`,
	}
	cmd.RunE = c.operate(func(cmd *cobra.Command, args []string) error {
		body := map[string]any{"email": args[0], "username": username, "name": name, "roles": roles, "must_change_password": mustChange}
		secret, err := readSecret(c.in)
		if err != nil {
			return err
		}
		if hashFromStdin {
			body["password_hash"] = secret
		} else {
			body["password"] = secret
		}
		return c.userCall(cmd.Context(), "POST", "/admin/users", body)
	})
	f := cmd.Flags()
	f.BoolVar(&fromStdin, "password-stdin", false, "read the password from the first line of standard input")
	f.BoolVar(&hashFromStdin, "password-hash-stdin", false, "read an encoded password hash ($argon2id$… or another known form) instead")
	f.StringVar(&username, "username", "", "a second name to log in with")
	f.StringVar(&name, "name", "", "name of the person")
	f.StringArrayVar(&roles, "role", nil, "a role; can be given several times. The role admin may do what an operator may")
	f.BoolVar(&mustChange, "must-change", false, "the first login has to set another password")
	cmd.MarkFlagsOneRequired("password-stdin", "password-hash-stdin")
	cmd.MarkFlagsMutuallyExclusive("password-stdin", "password-hash-stdin")
	return cmd
}

func (c *cli) userSetPassword() *cobra.Command {
	var fromStdin, mustChange bool
	cmd := &cobra.Command{
		Use: "set-password NAME", Short: "Set a password and end every session of the user", Args: cobra.ExactArgs(1),
	}
	cmd.RunE = c.operate(func(cmd *cobra.Command, args []string) error {
		secret, err := readSecret(c.in)
		if err != nil {
			return err
		}
		return c.ending(cmd.Context(), "POST", userPath(args[0])+"/password", map[string]any{"password": secret, "must_change_password": mustChange})
	})
	cmd.Flags().BoolVar(&fromStdin, "password-stdin", false, "read the password from the first line of standard input")
	cmd.Flags().BoolVar(&mustChange, "must-change", false, "the next login has to set another password")
	cmd.MarkFlagsOneRequired("password-stdin")
	return cmd
}

// readSecret reads a line. A secret is never an argument: command lines can be
// read by every user of the machine.
func readSecret(r io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(r, 64<<10)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("reading standard input: %w", err)
	}
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return "", &usageError{errors.New("standard input has no password in its first line")}
	}
	return line, nil
}

func (c *cli) userList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the accounts", Args: cobra.NoArgs,
		RunE: c.operate(func(cmd *cobra.Command, _ []string) error {
			users := []user{}
			for after := ""; ; {
				var page struct {
					Users []user `json:"users"`
					Next  string `json:"next"`
				}
				if err := c.call(cmd.Context(), "GET", withQuery("/admin/users", map[string]string{"after": after, "limit": "1000"}), nil, &page); err != nil {
					return err
				}
				users = append(users, page.Users...)
				if after = page.Next; after == "" {
					break
				}
			}
			return c.print(map[string]any{"users": users}, func(w io.Writer) {
				var rows [][]string
				for _, u := range users {
					rows = append(rows, []string{u.ID, u.Email, u.Username, u.Status, strings.Join(u.Roles, " "), minutes(u.CreatedAt)})
				}
				table(w, []string{"ID", "EMAIL", "USERNAME", "STATUS", "ROLES", "CREATED"}, rows)
			})
		}),
	}
}
