package config

import (
	"fmt"
	"reflect"
	"strings"
)

// Markdown returns docs/config.md.
func Markdown() string {
	var b strings.Builder
	b.WriteString(`# Configuration

<!-- Made from internal/config by go test ./internal/config -update. Edit the tags there. -->

Nothing has to be configured. What is given is taken in this order: a flag before an environment variable before the
YAML file (` + "`--config`" + `) before the default.

- A name that does not exist is an error, in the file and for every variable that begins with ` + "`CURFEW_`" + `.
  (` + "`" + strings.Join(clientSide, "`, `") + "`" + ` belong to the other commands.)
- Durations have a unit: ` + "`90s`, `10m`, `720h`" + `. A bare number is an error; ` + "`0`" + ` is fine.
- Lists are YAML lists, or texts separated by commas in variables and flags.
- A variable that is empty counts as not set.
- A secret can be kept in a file instead: ` + "`CURFEW_MASTER_KEY_FILE`" + ` names the file. Setting both is an error.

`)
	b.WriteString("`curfew config validate` lists everything that is wrong, `curfew config print` shows what is in effect.\n")
	t := reflect.TypeFor[Config]()
	b.WriteString("\n## General\n")
	table(&b, func(key string) bool { return !strings.Contains(key, ".") })
	for i := range t.NumField() {
		if f := t.Field(i); f.Type.Kind() == reflect.Struct {
			fmt.Fprintf(&b, "\n## %s\n", f.Tag.Get("doc"))
			table(&b, func(key string) bool { return strings.HasPrefix(key, f.Tag.Get("key")+".") })
		}
	}
	b.WriteString("\n## All defaults as a file\n\n```yaml\n" + Default().String() + "```\n")
	return b.String()
}

func table(b *strings.Builder, in func(key string) bool) {
	b.WriteString("\n| key, variable, flag | type | default | |\n|---|---|---|---|\n")
	for _, o := range Options() {
		if !in(o.Key) {
			continue
		}
		names := "`" + o.Key + "`<br>`" + o.Env + "`"
		if o.Secret {
			names += "<br>`" + o.Env + fileSuffix + "`"
		}
		if o.Flag != "" {
			names += "<br>`--" + o.Flag + "`"
		}
		kind := o.Type
		if len(o.OneOf) > 0 {
			kind = "`" + strings.Join(o.OneOf, "`, `") + "`"
		}
		if o.Secret {
			kind += ", secret"
		}
		def := ""
		if o.Default != "" {
			def = "`" + o.Default + "`"
		}
		// The only characters of the texts that Markdown would take for its own.
		doc := strings.NewReplacer("|", `\|`, "<", "&lt;").Replace(o.Doc)
		fmt.Fprintf(b, "| %s | %s | %s | %s |\n", names, kind, def, doc)
	}
}
