package config

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/curfewhq/curfew/internal/fault"
)

// Sources is where Load takes its values from.
type Sources struct {
	File    string            // YAML file; empty means none, and one that is missing is an error
	Environ []string          // NAME=value, as from os.Environ
	Flags   map[string]string // dotted key to value, only of the flags that were given
}

// maxFile bounds the files that Load reads: a path to the wrong thing, such as a
// database or /dev/zero, is an error and not a machine without memory.
const maxFile = 1 << 20

// clientSide are the variables of the commands that talk to an authority. They
// may stand in the same environment and are not Load's.
var clientSide = []string{"CURFEW_AUTHORITY", "CURFEW_OPERATOR_KEY", "CURFEW_OPERATOR_KEY_FILE", "CURFEW_CONFIG"}

// Load reads the configuration from all sources, a flag before a variable
// before the file before the default, and validates it. It reports every
// problem it finds, not only the first. A mistyped name is always an error: an
// operator who believes he has set sessions.idle_timeout must not run without.
func Load(src Sources) (Config, error) {
	c := Default()
	all := fields(&c)
	var errs []error
	if src.File != "" {
		content, err := readFile(src.File)
		if err != nil {
			return c, fmt.Errorf("configuration file: %w", err)
		}
		errs = append(errs, applyYAML(all, src.File, content)...)
	}
	errs = append(errs, applyEnv(all, src.Environ)...)
	errs = append(errs, applyFlags(all, src.Flags)...)
	if len(errs) == 0 {
		return c, c.Validate()
	}
	// What was not read is not validated: a value that is missing because its
	// name is wrong would be blamed twice.
	return c, errors.Join(errs...)
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxFile {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxFile)
	}
	return b, nil
}

// applyEnv sets the options that have a variable in environ. A variable that is
// set to nothing counts as not set, which is what compose files and unit files
// mean by passing on one they do not have.
func applyEnv(all []field, environ []string) (errs []error) {
	known := map[string]field{}
	names := slices.Clone(clientSide)
	for _, f := range all {
		known[f.Env] = f
		names = append(names, f.Env)
		if f.Secret {
			names = append(names, f.Env+fileSuffix)
		}
	}
	set := map[string]string{}
	for _, entry := range environ {
		name, value, ok := strings.Cut(entry, "=")
		if !ok || !strings.HasPrefix(name, envPrefix) || slices.Contains(clientSide, name) {
			continue
		}
		if fault.Enabled && strings.HasPrefix(name, fault.EnvPrefix) {
			continue // of a binary for tests
		}
		if !slices.Contains(names, name) {
			hint := suggest(name, names)
			if base, isFile := strings.CutSuffix(name, fileSuffix); isFile && known[base].Key != "" {
				hint = fmt.Sprintf(" (only secrets are read from files; set %s)", base)
			}
			errs = append(errs, fmt.Errorf("environment: unknown variable %s%s", name, hint))
			continue
		}
		if value == "" {
			// The last entry of a name counts, as it does for os.Getenv's callers.
			delete(set, name)
			continue
		}
		set[name] = value
	}
	for _, name := range slices.Sorted(maps.Keys(set)) {
		value, f := set[name], known[name]
		if f.Key == "" {
			base := strings.TrimSuffix(name, fileSuffix)
			f = known[base]
			if set[base] != "" {
				// Whichever won, rotating the other would seem to work and not.
				errs = append(errs, fmt.Errorf("environment: %s and %s are both set; keep one", base, name))
				continue
			}
			content, err := readFile(value)
			if err != nil {
				errs = append(errs, fmt.Errorf("environment: %s: %w", name, err))
				continue
			}
			if value = strings.TrimRight(string(content), "\r\n"); value == "" {
				errs = append(errs, fmt.Errorf("environment: %s: %s is empty", name, set[name]))
				continue
			}
		}
		if err := f.set(value); err != nil {
			errs = append(errs, f.problem("environment: "+name, value, err))
		}
	}
	return errs
}

func applyFlags(all []field, flags map[string]string) (errs []error) {
	known := map[string]field{}
	for _, f := range all {
		known[f.Key] = f
	}
	for _, key := range slices.Sorted(maps.Keys(flags)) {
		f := known[key]
		switch {
		case f.Key == "":
			errs = append(errs, fmt.Errorf("flags: unknown option %q%s", key, suggest(key, slices.Collect(maps.Keys(known)))))
		case f.Flag == "":
			errs = append(errs, fmt.Errorf("flags: %s is a secret and has no flag; set %s or %s", key, f.Env, f.Env+fileSuffix))
		default:
			if err := f.set(flags[key]); err != nil {
				errs = append(errs, f.problem("--"+f.Flag, flags[key], err))
			}
		}
	}
	return errs
}

// problem is the error of a value that could not be read. It repeats the value,
// unless it is a secret.
func (f field) problem(where, value string, err error) error {
	if f.Secret {
		return fmt.Errorf("%s: %w", where, err)
	}
	return fmt.Errorf("%s is %q: %w", where, redactURL(value), err)
}
