package config

import (
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Option describes one option, for flags, messages and documentation.
type Option struct {
	Key     string   // sessions.idle_timeout
	Env     string   // CURFEW_SESSIONS_IDLE_TIMEOUT
	Flag    string   // sessions-idle-timeout; empty if there must be none
	Type    string   // string, list, integer, duration
	Default string   // as it would be written in YAML or a variable
	Doc     string   // full sentences
	OneOf   []string // the values of an enumeration
	Secret  bool     // never printed; can be given as the name of a file in Env_FILE
}

// Options returns all options in the order of the fields of Config.
func Options() []Option {
	var all []Option
	for _, f := range fields(new(Config)) {
		all = append(all, f.Option)
	}
	return all
}

const (
	envPrefix  = "CURFEW_"
	fileSuffix = "_FILE"
)

// field is an option together with its place in one Config.
type field struct {
	Option
	value reflect.Value
}

// fields returns the options of c, in order, ready to be read and set.
func fields(c *Config) []field {
	return appendFields(nil, "", reflect.ValueOf(c).Elem())
}

func appendFields(all []field, prefix string, v reflect.Value) []field {
	for i := range v.NumField() {
		tag := v.Type().Field(i).Tag
		key := prefix + tag.Get("key")
		if v.Field(i).Kind() == reflect.Struct {
			all = appendFields(all, key+".", v.Field(i))
			continue
		}
		o := Option{
			Key:     key,
			Env:     envPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_")),
			Flag:    strings.NewReplacer(".", "-", "_", "-").Replace(key),
			Default: tag.Get("default"),
			Doc:     tag.Get("doc"),
			OneOf:   strings.Fields(tag.Get("oneof")),
			Secret:  tag.Get("secret") != "",
		}
		if o.Secret {
			// A secret on the command line is read by everybody who can run ps,
			// and stays in the history of the shell.
			o.Flag = ""
		}
		switch v.Field(i).Interface().(type) {
		case string:
			o.Type = "string"
		case []string:
			o.Type = "list"
		case int:
			o.Type = "integer"
		case time.Duration:
			o.Type = "duration"
		default:
			panic("config: no converter for the type of " + key)
		}
		all = append(all, field{o, v.Field(i)})
	}
	return all
}

var errNumberAsDuration = errors.New("a duration needs a unit, such as 600s or 10m")

// set converts text, which is how every source gives a value, lists apart.
func (f field) set(text string) error {
	switch f.Type {
	case "string":
		if strings.ContainsAny(text, "\x00\r\n") || !utf8.ValidString(text) {
			return errors.New("must be a single line of text")
		}
		f.value.SetString(text)
	case "list":
		var items []string
		if strings.TrimSpace(text) != "" {
			items = strings.Split(text, ",")
		}
		return f.setList(items)
	case "integer":
		n, err := strconv.Atoi(text)
		if err != nil {
			return errors.New("must be a whole number")
		}
		f.value.SetInt(int64(n))
	case "duration":
		d, err := parseDuration(text)
		if err != nil {
			return err
		}
		f.value.SetInt(int64(d))
	}
	return nil
}

func (f field) setList(items []string) error {
	var list []string
	for _, item := range items {
		item = strings.TrimSpace(item)
		if item == "" || strings.ContainsAny(item, "\x00\r\n,") || !utf8.ValidString(item) {
			return errors.New("has an empty or unreadable item")
		}
		list = append(list, item)
	}
	f.value.Set(reflect.ValueOf(list))
	return nil
}

// parseDuration reads a Go duration. A number without unit is refused, since
// the next reader takes seconds for minutes; 0 is the same in every unit.
func parseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err == nil {
		return d, nil
	}
	if _, ferr := strconv.ParseFloat(text, 64); ferr == nil {
		return 0, errNumberAsDuration
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, derr := strconv.Atoi(days); derr == nil && n > 0 && n < 100_000 {
			return 0, fmt.Errorf("days are no unit here; write %dh", 24*n)
		}
	}
	return 0, errors.New("must be a duration, such as 90s, 10m or 720h")
}

// text returns the value as it is written in a variable.
func (f field) text() string {
	switch v := f.value.Interface().(type) {
	case string:
		return v
	case []string:
		return strings.Join(v, ",")
	case time.Duration:
		return formatDuration(v)
	default:
		return fmt.Sprint(v)
	}
}

// shown returns the value as it may be shown to anybody.
func (f field) shown() string {
	if f.Secret {
		if f.text() == "" {
			return ""
		}
		return "(set)"
	}
	return redactURL(f.text())
}

func (f field) yaml() string {
	switch f.Type {
	case "list":
		var quoted []string
		for _, item := range f.value.Interface().([]string) {
			quoted = append(quoted, strconv.Quote(item))
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	case "string":
		return strconv.Quote(f.shown())
	default:
		return f.shown()
	}
}

// redactURL hides the password of a URL, which is where databases have theirs.
func redactURL(text string) string {
	if !strings.Contains(text, "://") || !strings.Contains(text, "@") {
		return text
	}
	u, err := url.Parse(text)
	if err != nil {
		// What cannot be parsed cannot be hidden in part.
		return "(unreadable URL)"
	}
	return u.Redacted()
}

// formatDuration writes 720h and not 720h0m0s.
func formatDuration(d time.Duration) string {
	if d == 0 {
		return "0"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// suggest returns ` (did you mean "x"?)` for the candidate nearest to name, or
// nothing if none is near.
func suggest(name string, candidates []string) string {
	best, distance := "", min(len(name)/3+2, 12)
	for _, c := range candidates {
		if d := editDistance(name, c); d < distance {
			best, distance = c, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %q?)", best)
}

// editDistance counts the insertions, deletions, replacements and swaps of
// neighbours that make b of a.
func editDistance(a, b string) int {
	// Nobody needs a suggestion for these, and the cost is quadratic.
	if len(a) > 100 || len(b) > 100 {
		return 1000
	}
	var older []int
	prev := make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := range len(a) {
		cur := make([]int, len(b)+1)
		cur[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			cur[j+1] = min(prev[j+1]+1, cur[j]+1, prev[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				cur[j+1] = min(cur[j+1], older[j-1]+1)
			}
		}
		older, prev = prev, cur
	}
	return prev[len(b)]
}
