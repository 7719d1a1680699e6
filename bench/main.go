package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/curfewhq/curfew/bench/rig"
)

// options is what the flags say.
type options struct {
	seconds int
	rounds  int
	only    map[string]bool
	json    bool
	dir     string
	profile string
}

func main() {
	for env, as := range map[string]func(string) error{
		serverEnv: serve, nodeEnv: serveNode, hubEnv: serveHub, rig.SwarmEnv: serveSwarm,
	} {
		s := os.Getenv(env)
		if s == "" {
			continue
		}
		if err := as(s); err != nil {
			fmt.Fprintln(os.Stderr, "bench", strings.ToLower(env)+":", err)
			os.Exit(1)
		}
		return
	}
	opts, err := parseFlags(os.Args[1:])
	if err != nil {
		os.Exit(2) // flag has said why
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, opts, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

func parseFlags(args []string) (options, error) {
	var o options
	var only string
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.IntVar(&o.seconds, "seconds", 2, "length of one round of a scenario")
	f.IntVar(&o.rounds, "rounds", 3, "rounds of each scenario; the median is reported")
	f.StringVar(&only, "only", "", "comma-separated scenarios: "+strings.Join(scenarioNames(), ", "))
	f.BoolVar(&o.json, "json", false, "print JSON instead of a table")
	f.StringVar(&o.dir, "dir", "", "directory for the stores, on the disk to be measured (default: a temporary one)")
	f.StringVar(&o.profile, "profile", "", "directory for CPU profiles of the server, one per scenario")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if only != "" {
		o.only = map[string]bool{}
		for name := range strings.SplitSeq(only, ",") {
			if !slices.Contains(scenarioNames(), name) {
				err := fmt.Errorf("there is no scenario %q", name)
				fmt.Fprintln(f.Output(), err)
				return o, err
			}
			o.only[name] = true
		}
	}
	if o.seconds < 1 || o.rounds < 1 {
		err := fmt.Errorf("-seconds and -rounds are at least 1")
		fmt.Fprintln(f.Output(), err)
		return o, err
	}
	return o, nil
}

// report is what a run prints.
type report struct {
	Machine string   `json:"machine"`
	Started string   `json:"started"`
	Seconds int      `json:"seconds"`
	Rounds  int      `json:"rounds"`
	Results []result `json:"results"`
}

func run(ctx context.Context, o options, out io.Writer) error {
	dir, err := workDir(o.dir)
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{ctx: ctx, opts: o, dir: dir}
	defer b.stop()
	rep := report{
		Machine: fmt.Sprintf("%s/%s, %d CPUs, %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version()),
		Started: time.Now().UTC().Format(time.RFC3339), Seconds: o.seconds, Rounds: o.rounds,
	}
	if !o.json {
		fmt.Fprintf(out, "%s; %d rounds of %d s, medians\n\n", rep.Machine, o.rounds, o.seconds)
	}
	var failed error // what was measured before is printed all the same
	for _, s := range scenarios {
		if o.only != nil && !o.only[s.name] {
			continue
		}
		fmt.Fprintf(os.Stderr, "%s …\n", s.name)
		if err := s.run(b); err != nil {
			failed = fmt.Errorf("%s: %w", s.name, err)
			break
		}
	}
	rep.Results = b.results
	if o.json {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return errors.Join(failed, e.Encode(rep))
	}
	return errors.Join(failed, writeTable(out, rep.Results))
}

// workDir makes a directory for the stores. It refuses one that is kept in
// memory: a sync there costs nothing, and neither would a logout.
func workDir(parent string) (string, error) {
	if parent == "" {
		parent = os.TempDir()
		// Many systems keep /tmp in memory and /var/tmp on the disk.
		if kind := filesystem(parent); kind == "tmpfs" {
			parent = "/var/tmp"
		}
	}
	parent, err := filepath.Abs(parent)
	if err != nil {
		return "", err
	}
	if kind := filesystem(parent); kind == "tmpfs" || kind == "ramfs" {
		return "", fmt.Errorf("%s is a %s, kept in memory; give -dir on a disk", parent, kind)
	}
	return os.MkdirTemp(parent, "curfew-bench-")
}

// filesystem returns the type of the file system that holds path, as the kernel
// names it, or "" where it cannot be told.
func filesystem(path string) string {
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		return ""
	}
	return mountedAt(string(mounts), path)
}

// mountedAt finds the type of the mount that path is under: the longest prefix,
// and of equal ones the last, which hides the others.
func mountedAt(mounts, path string) string {
	best, kind := -1, ""
	for line := range strings.Lines(mounts) {
		f := strings.Fields(line)
		if len(f) < 3 {
			continue
		}
		at := strings.TrimSuffix(f[1], "/")
		if (path == at || strings.HasPrefix(path, at+"/")) && len(at) >= best {
			best, kind = len(at), f[2]
		}
	}
	return kind
}
