package fault_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/curfewhq/curfew/internal/fault"
)

const (
	feedPkg   = "internal/feed"
	simPkg    = "internal/feed/sim"
	verifyPkg = "internal/verify"
	sqlitePkg = "internal/store/sqlite"
)

// suites are the tests that are run against each bug. The rarest of them shows
// in about every hundredth run of the simulation.
var suites = map[string][]string{
	feedPkg:   {"-test.short"},
	simPkg:    {"-test.run=^TestSimulation$", "-seeds=1200"},
	verifyPkg: {"-test.short"},
	sqlitePkg: {"-test.run=^(TestCommitsAreAtomicUnderFaults|TestConformance)$", "-test.short"},
}

// found says which tests must fail for each bug, among others. A bug that only
// makes something else fail is not found.
var found = map[fault.Bug]map[string][]string{
	fault.LeaseFromReceipt:     {feedPkg: {"TestRule1TheLeaseCountsFromTheSending", "TestVectors"}, simPkg: {"TestSimulation"}},
	fault.WaitWithoutDrift:     {feedPkg: {"TestRule2TheWaitAllowsForDrift"}, simPkg: {"TestSimulation"}},
	fault.AckBeforeApply:       {feedPkg: {"TestRule3WhatIsAcknowledgedIsVisible"}, simPkg: {"TestSimulation"}},
	fault.LookupBeforeDeadline: {feedPkg: {"TestRule4TheDeadlineComesBeforeTheLookup"}, verifyPkg: {"TestLeaseBeforeDenylist"}, simPkg: {"TestSimulation"}},
	fault.NoWaitAfterRestart:   {feedPkg: {"TestRule6LeasesOfBeforeARestartAreWaitedOut"}, simPkg: {"TestSimulation"}},
	fault.GrantWithoutMissed:   {feedPkg: {"TestEnforcedMeansRefused"}, simPkg: {"TestSimulation"}},
	fault.PurgeByWallClock:     {feedPkg: {"TestRule11NothingIsForgottenByTheWallClock"}, simPkg: {"TestSimulation"}},
	fault.DenyByTokenText:      {verifyPkg: {"TestRevoked"}, simPkg: {"TestSimulation"}},
	fault.AnswerBeforeSync:     {sqlitePkg: {"TestCommitsAreAtomicUnderFaults"}},
	fault.RowCountUnchecked:    {sqlitePkg: {"TestConformance/OneOfManyRefreshesWins", "TestConformance/LateWriteDoesNotReviveASession"}},
}

var (
	failed = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)
	// broken is what the simulation says where the promise is broken, not only
	// something about it late.
	broken = regexp.MustCompile(`: (final|monotone): `)
)

// TestTheTestsBite runs the suites against each seeded bug, and demands that
// they find it. Without any bug they must pass.
func TestTheTestsBite(t *testing.T) {
	if fault.Enabled {
		t.Skip("this is one of the binaries that it builds")
	}
	readSources(t)
	dir := t.TempDir()
	binary := map[string]string{}
	for pkg := range suites {
		binary[pkg] = filepath.Join(dir, path.Base(pkg)+".test")
		build := exec.Command("go", "test", "-c", "-tags", "curfew_fault", "-o", binary[pkg], "./"+pkg)
		build.Dir = "../.."
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", pkg, err, out)
		}
	}
	run := func(t *testing.T, pkg string, bug fault.Bug) (map[string]bool, string) {
		t.Helper()
		cmd := exec.Command(binary[pkg], append(suites[pkg], "-test.timeout=5m")...)
		cmd.Dir = filepath.Join("../..", pkg)
		cmd.Env = append(os.Environ(), fault.EnvPrefix+"BUG="+string(bug))
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		names := map[string]bool{}
		for _, m := range failed.FindAllStringSubmatch(string(out), -1) {
			names[m[1]] = true
		}
		if err != nil && len(names) == 0 {
			t.Fatalf("%s with %q does not end as a test does: %v\n%s", pkg, bug, err, out)
		}
		return names, string(out)
	}
	for pkg := range suites {
		if names, out := run(t, pkg, ""); len(names) > 0 {
			t.Fatalf("%s fails with no bug switched on:\n%s", pkg, out)
		}
	}
	for _, bug := range fault.Bugs() {
		t.Run(string(bug), func(t *testing.T) {
			if len(found[bug]) == 0 {
				t.Fatal("nothing says who finds it")
			}
			for pkg, tests := range found[bug] {
				names, out := run(t, pkg, bug)
				for _, want := range tests {
					if !names[want] {
						t.Errorf("%s %s does not find it:\n%s", pkg, want, tail(out))
					}
				}
				if pkg == simPkg && !broken.MatchString(out) {
					t.Errorf("the simulation fails, and the promise holds:\n%s", tail(out))
				}
			}
		})
	}
}

// readSources looks at everything that the suites are built from, so that a
// result which go test has kept is not taken for one of other sources.
func readSources(t *testing.T) {
	t.Helper()
	for _, dir := range []string{"../..", ".."} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && dir == "../.." && path != dir:
				return fs.SkipDir
			case filepath.Ext(path) == ".go":
				_, err = os.Stat(path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func tail(out string) string {
	lines := strings.Split(out, "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}
