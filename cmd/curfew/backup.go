package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/curfewhq/curfew/internal/app"
	"github.com/spf13/cobra"
)

func (c *cli) backupCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write a copy of the store of a running authority to a file",
		Long: `Writes a consistent copy of the store, without stopping anything. The file holds
password hashes and the audit trail, and is readable by its owner only. It never
replaces a file. Private keys are in it only as the master key has sealed them.`,
		Args: cobra.ExactArgs(1),
		RunE: c.operate(func(cmd *cobra.Command, args []string) error {
			n, err := c.backup(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return c.print(map[string]any{"file": args[0], "bytes": n}, func(w io.Writer) {
				fmt.Fprintf(w, "wrote %s, %s\n", args[0], plural(n, "byte"))
			})
		}),
	}
	return c.remoteFlags(cmd)
}

// backup downloads into a file beside path and gives it its name when it is
// whole: half a backup under the name of a backup is worse than none.
func (c *cli) backup(ctx context.Context, path string) (n int64, err error) {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("%s exists; a backup never replaces a file: choose another name", path)
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return 0, err
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	c.remote.http.Timeout = 0 // a large store may take longer than a call; ctx still ends it
	resp, err := c.request(ctx, "GET", "/admin/backup", nil)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if n, err = io.Copy(tmp, resp.Body); err != nil {
		return 0, fmt.Errorf("the backup was cut off: %w; nothing was written", c.unreachable(err))
	}
	if err := errors.Join(tmp.Sync(), tmp.Close()); err != nil {
		return 0, err
	}
	return n, app.Place(tmp.Name(), path)
}
