package config

import (
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// applyYAML sets the options that the file names.
//
// It walks the syntax tree rather than having the library fill the struct: that
// way all unknown keys are found at once and not one per attempt, each with its
// line and the nearest known key, and every value goes through the converters
// that variables and flags go through, with what was written and not with what
// YAML makes of it.
func applyYAML(all []field, path string, content []byte) []error {
	file, err := parser.ParseBytes(content, 0)
	if err != nil {
		var syntax yaml.Error
		if errors.As(err, &syntax) && syntax.GetToken() != nil {
			return []error{fmt.Errorf("%s:%d: %s", path, syntax.GetToken().Position.Line, syntax.GetMessage())}
		}
		return []error{fmt.Errorf("%s: not readable as YAML", path)}
	}
	r := &yamlReader{path: path, known: map[string]field{}, groups: map[string]bool{}, seen: map[string]bool{}}
	for _, f := range all {
		r.known[f.Key] = f
		r.names = append(r.names, f.Key)
		if group, _, nested := strings.Cut(f.Key, "."); nested {
			r.groups[group] = true
		}
	}
	documents := 0
	for _, doc := range file.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.NullType || doc.Body.Type() == ast.CommentType {
			continue
		}
		if documents++; documents > 1 {
			r.fail(doc.Body, "a second YAML document, which would be ignored; keep one")
			break
		}
		r.mapping("", doc.Body)
	}
	return r.errs
}

type yamlReader struct {
	path   string
	known  map[string]field
	groups map[string]bool
	names  []string
	seen   map[string]bool
	errs   []error
}

func (r *yamlReader) fail(n ast.Node, format string, args ...any) {
	r.errs = append(r.errs, fmt.Errorf("%s:%d: %s", r.path, line(n), fmt.Sprintf(format, args...)))
}

// line is the line of n. The position of a mapping is that of its first colon.
func line(n ast.Node) int {
	if t := n.GetToken(); t != nil && t.Position != nil {
		return t.Position.Line
	}
	return 0
}

func (r *yamlReader) mapping(group string, body ast.Node) {
	var values []*ast.MappingValueNode
	switch b := body.(type) {
	case *ast.MappingNode:
		values = b.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{b}
	default:
		if group == "" {
			r.fail(body, "must be keys with values, such as listen: 127.0.0.1:8080")
		} else {
			r.fail(body, "%s must be keys with values, indented below it", group)
		}
		return
	}
	for _, kv := range values {
		r.entry(group, kv)
	}
}

func (r *yamlReader) entry(group string, kv *ast.MappingValueNode) {
	key, ok := kv.Key.(*ast.StringNode)
	if !ok {
		r.fail(kv.Key, "key %q is not plain text", kv.Key.String())
		return
	}
	name := key.Value
	if group != "" {
		name = group + "." + name
	}
	if r.seen[name] {
		// The library refuses most of these itself; "a.b" and b below a are
		// the same only to us.
		r.fail(key, "%s is there twice", name)
		return
	}
	r.seen[name] = true
	if group == "" && r.groups[name] {
		if kv.Value == nil || kv.Value.Type() == ast.NullType {
			return // a heading with everything below it commented out
		}
		r.mapping(name, kv.Value)
		return
	}
	f, ok := r.known[name]
	if !ok {
		r.fail(key, "unknown key %q%s", name, r.suggest(name))
		return
	}
	if err := r.value(f, kv.Value); err != nil {
		if f.Secret || kv.Value == nil || kv.Value.Type() == ast.NullType {
			r.fail(key, "%s: %v", name, err)
		} else {
			r.fail(key, "%s is %q: %v", name, redactURL(strings.TrimSpace(kv.Value.String())), err)
		}
	}
}

// suggest looks for keys spelt alike and, since it is easy to forget where a
// key belongs, for keys of other groups with that very name.
func (r *yamlReader) suggest(name string) string {
	last := name[strings.LastIndexByte(name, '.')+1:]
	for _, known := range r.names {
		if known == last || strings.HasSuffix(known, "."+last) {
			return fmt.Sprintf(" (did you mean %q?)", known)
		}
	}
	groups := make([]string, 0, len(r.groups))
	for g := range r.groups {
		groups = append(groups, g)
	}
	return suggest(name, append(groups, r.names...))
}

func (r *yamlReader) value(f field, n ast.Node) error {
	if n == nil || n.Type() == ast.NullType {
		return errors.New("has no value; give one or remove the line")
	}
	if seq, ok := n.(*ast.SequenceNode); ok {
		if f.Type != "list" {
			return errors.New("takes one value and not a list")
		}
		var items []string
		for _, item := range seq.Values {
			text, err := scalar(item)
			if err != nil {
				return err
			}
			items = append(items, text)
		}
		return f.setList(items)
	}
	if f.Type == "integer" || f.Type == "duration" {
		// max: "5" is clear enough, but 1e3, 0x10 and 1_000 are not: only the
		// digits themselves are taken, by the same rule as in a variable.
		text, err := scalar(n)
		if err != nil {
			return err
		}
		return f.set(text)
	}
	text, err := scalar(n)
	if err != nil {
		return err
	}
	return f.set(text)
}

// scalar returns a value as it is written. Numbers are taken as text, so that a
// client id of 0123 stays one. The rest of YAML (anchors, tags, true, nested
// keys) has no meaning here.
func scalar(n ast.Node) (string, error) {
	switch v := n.(type) {
	case *ast.StringNode:
		return v.Value, nil
	case *ast.LiteralNode:
		return strings.TrimRight(v.Value.Value, "\n"), nil
	case *ast.IntegerNode, *ast.FloatNode:
		return n.GetToken().Value, nil
	case *ast.BoolNode:
		return "", errors.New("is a truth value to YAML; put it in quotes if it is meant as text")
	case *ast.MappingNode, *ast.MappingValueNode:
		return "", errors.New("takes a value and has no keys below it")
	default:
		if n.GetToken() != nil && n.GetToken().Type == token.AliasType {
			return "", errors.New("anchors and aliases are not supported")
		}
		return "", errors.New("must be plain text or a number")
	}
}
