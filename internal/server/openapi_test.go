package server_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

const description = "../../docs/openapi.yaml"

// openAPI is the API description, ready to hold answers against it.
type openAPI struct {
	doc        map[string]any
	compiler   *jsonschema.Compiler
	operations map[string]*operation // by "METHOD /path/{template}"

	mu      sync.Mutex
	schemas map[string]*jsonschema.Schema // by JSON pointer
	seen    map[string]map[int]bool       // statuses that were answered, by operation
}

type operation struct {
	name      string
	pointer   string // JSON pointer to the operation
	path      *regexp.Regexp
	responses map[int]string // JSON pointer to the response, references resolved
	secured   []string       // names of the security schemes; nil where anybody may call
	body      map[string]any
}

var load = sync.OnceValues(func() (*openAPI, error) {
	text, err := os.ReadFile(description)
	if err != nil {
		return nil, err
	}
	asJSON, err := yaml.YAMLToJSON(text)
	if err != nil {
		return nil, err
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(asJSON))
	if err != nil {
		return nil, err
	}
	a := &openAPI{
		doc: doc.(map[string]any), compiler: jsonschema.NewCompiler(), operations: map[string]*operation{},
		schemas: map[string]*jsonschema.Schema{}, seen: map[string]map[int]bool{},
	}
	a.compiler.AssertFormat()
	if err := a.compiler.AddResource("file:///openapi.json", doc); err != nil {
		return nil, err
	}
	return a, a.index()
})

func api(t testing.TB) *openAPI {
	t.Helper()
	a, err := load()
	if err != nil {
		t.Fatalf("the API description cannot be read: %v", err)
	}
	return a
}

var parameter = regexp.MustCompile(`\\\{[a-z_]+\\\}`)

func (a *openAPI) index() error {
	for path, item := range a.doc["paths"].(map[string]any) {
		for method, op := range item.(map[string]any) {
			o := &operation{
				name:    strings.ToUpper(method) + " " + path,
				pointer: "#/paths/" + escape(path) + "/" + method,
				path:    regexp.MustCompile("^" + parameter.ReplaceAllString(regexp.QuoteMeta(path), "[^/]+") + "$"),
			}
			o.responses = map[int]string{}
			m := op.(map[string]any)
			for status, r := range m["responses"].(map[string]any) {
				n, err := strconv.Atoi(status)
				if err != nil {
					return fmt.Errorf("%s: status %q", o.name, status)
				}
				o.responses[n] = o.pointer + "/responses/" + status
				if ref, ok := r.(map[string]any)["$ref"].(string); ok {
					o.responses[n] = ref
				}
				if a.at(o.responses[n]) == nil {
					return fmt.Errorf("%s: %s does not exist", o.name, o.responses[n])
				}
			}
			security, ok := m["security"].([]any)
			if !ok {
				return fmt.Errorf("%s does not say who may call it", o.name)
			}
			for _, alternative := range security {
				for scheme := range alternative.(map[string]any) {
					o.secured = append(o.secured, scheme)
				}
			}
			if body, ok := m["requestBody"].(map[string]any); ok {
				o.body = body["content"].(map[string]any)
			}
			a.operations[o.name] = o
		}
	}
	return nil
}

func escape(s string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(s)
}

// at follows a JSON pointer, and nil leads nowhere.
func (a *openAPI) at(pointer string) map[string]any {
	var v any = a.doc
	for name := range strings.SplitSeq(strings.TrimPrefix(pointer, "#/"), "/") {
		m, _ := v.(map[string]any)
		v = m[strings.NewReplacer("~1", "/", "~0", "~").Replace(name)]
	}
	m, _ := v.(map[string]any)
	return m
}

func (a *openAPI) schema(t testing.TB, pointer string) *jsonschema.Schema {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	if s := a.schemas[pointer]; s != nil {
		return s
	}
	s, err := a.compiler.Compile("file:///openapi.json" + strings.ReplaceAll(pointer, "{", "%7B"))
	if err != nil {
		t.Fatalf("schema %s: %v", pointer, err)
	}
	a.schemas[pointer] = s
	return s
}

// find returns the operation of a request, or nil. Literal segments win over
// parameters, as in the server.
func (a *openAPI) find(method, path string) *operation {
	if o := a.operations[method+" "+path]; o != nil {
		return o
	}
	for _, o := range a.operations {
		if strings.HasPrefix(o.name, method+" ") && o.path.MatchString(path) {
			return o
		}
	}
	return nil
}

// check holds an answer against the description. What is not described must be
// a 404 or 405, or the answer to HEAD.
func (a *openAPI) check(t *testing.T, r *http.Request, p reply) {
	t.Helper()
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	o := a.find(method, r.URL.EscapedPath())
	if o == nil && (isPage(r.URL.Path) && p.status != 404 && p.status != 405 || strings.HasPrefix(r.URL.Path, "/assets/")) {
		checkPage(t, r, p)
		return
	}
	if o == nil {
		if p.status != 404 && p.status != 405 {
			t.Errorf("%s is not described and answers %d", p.call, p.status)
			return
		}
		if p.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: Cache-Control is %q", p.call, p.header.Get("Cache-Control"))
		}
		body := "#/components/responses/NotFound"
		if a.operations["POST "+r.URL.Path] != nil && a.operations["POST "+r.URL.Path].responses[415] == "#/components/responses/OAuthUnsupported" {
			body = "#/components/responses/OAuthBadRequest"
		}
		if r.Method != http.MethodHead {
			a.checkBody(t, p, body)
		}
		return
	}
	pointer, ok := o.responses[p.status]
	if !ok {
		t.Errorf("%s: %d is not described: %s", o.name, p.status, p.body)
		return
	}
	a.mu.Lock()
	if a.seen[o.name] == nil {
		a.seen[o.name] = map[int]bool{}
	}
	a.seen[o.name][p.status] = true
	a.mu.Unlock()
	a.checkHeaders(t, p, pointer)
	if r.Method != http.MethodHead {
		a.checkBody(t, p, pointer)
	}
}

// isPage reports whether a path is one of the pages for people, which are not
// described.
func isPage(path string) bool {
	return path == "/" || path == "/login" || path == "/signout" || path == "/demo" || strings.HasPrefix(path, "/account") ||
		strings.HasPrefix(path, "/assets/") || path == "/demo/employees"
}

// checkPage holds an answer for people against what is true of all of them: no
// cache keeps it, no script stands in it, and no other site may frame it.
func checkPage(t *testing.T, r *http.Request, p reply) {
	t.Helper()
	h := p.header
	if strings.HasPrefix(r.URL.Path, "/assets/") {
		return
	}
	if got := h.Get("Cache-Control"); got != "no-store" {
		t.Errorf("%s: Cache-Control is %q", p.call, got)
	}
	if h.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%s: X-Content-Type-Options is %q", p.call, h.Get("X-Content-Type-Options"))
	}
	switch kind := h.Get("Content-Type"); {
	case p.status == 303:
		if len(p.body) > 0 || h.Get("Location") == "" {
			t.Errorf("%s: 303 to %q with %d bytes", p.call, h.Get("Location"), len(p.body))
		}
	case r.URL.Path == "/demo/employees":
		if kind != "application/json" {
			t.Errorf("%s: Content-Type is %q", p.call, kind)
		}
	default:
		csp := h.Get("Content-Security-Policy")
		if kind != "text/html; charset=utf-8" || !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: %d as %q with the policy %q", p.call, p.status, kind, csp)
		}
		for _, found := range [][]byte{inline.Find(quoted.ReplaceAll(p.body, []byte(`""`))), leads.Find(p.body)} {
			if found != nil {
				t.Errorf("%s: the page has %q", p.call, found)
			}
		}
	}
}

// inline is what the policy forbids and what somebody else's text would have to
// become to do harm.
var (
	inline = regexp.MustCompile(`(?i)<script[^>]*>[^<]|<style|<img src=[^"]|<[^>]*\son[a-z]+\s*=|<[^>]*\sstyle\s*=|<svg`)
	quoted = regexp.MustCompile(`"[^"]*"`)
	leads  = regexp.MustCompile(`(?i)(href|src|action)="\s*(javascript|data|vbscript):`)
)

func (a *openAPI) checkHeaders(t *testing.T, p reply, pointer string) {
	t.Helper()
	headers, _ := a.at(pointer)["headers"].(map[string]any)
	for name, h := range headers {
		at := pointer + "/headers/" + name
		if ref, ok := h.(map[string]any)["$ref"].(string); ok {
			at = ref
		}
		values := p.header.Values(name)
		switch {
		case len(values) > 1:
			t.Errorf("%s: %d with %d headers %s", p.call, p.status, len(values), name)
		case len(values) == 1:
			if err := a.schema(t, at+"/schema").Validate(values[0]); err != nil {
				t.Errorf("%s: %d with %s: %s: %v", p.call, p.status, name, values[0], err)
			}
		case a.at(at)["required"] == true:
			t.Errorf("%s: %d without %s", p.call, p.status, name)
		}
	}
	for _, name := range []string{"WWW-Authenticate", "Retry-After", "RateLimit-Limit", "Preference-Applied", "Set-Cookie", "Clear-Site-Data", "Location", "Content-Disposition"} {
		if _, described := headers[name]; !described && p.header.Get(name) != "" {
			t.Errorf("%s: %d with %s, which is not described", p.call, p.status, name)
		}
	}
}

func (a *openAPI) checkBody(t *testing.T, p reply, pointer string) {
	t.Helper()
	response := a.at(pointer)
	content, _ := response["content"].(map[string]any)
	if content == nil || response["x-may-be-empty"] == true && len(p.body) == 0 {
		if len(p.body) > 0 {
			t.Errorf("%s: %d with a body: %s", p.call, p.status, p.body)
		}
		return
	}
	kind, _, err := mime.ParseMediaType(p.header.Get("Content-Type"))
	if err != nil || content[kind] == nil {
		t.Errorf("%s: %d with Content-Type %q", p.call, p.status, p.header.Get("Content-Type"))
		return
	}
	if kind != "application/json" {
		return
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(p.body))
	if err != nil {
		t.Errorf("%s: %d: %v: %s", p.call, p.status, err, p.body)
		return
	}
	if err := a.schema(t, pointer+"/content/application~1json/schema").Validate(v); err != nil {
		t.Errorf("%s: %d: %v\n%s", p.call, p.status, err, p.body)
	}
	if p.status >= 400 {
		if m := v.(map[string]any); m["code"] != json.Number(strconv.Itoa(p.status)) {
			t.Errorf("%s: status %d and code %v differ", p.call, p.status, m["code"])
		}
	}
}

// TestMain fails a full run in which a described status was never answered: a
// description that promises more than happens is wrong as well.
func TestMain(m *testing.M) {
	code := m.Run()
	whole := flag.Lookup("test.run").Value.String() == "" && flag.Lookup("test.skip").Value.String() == "" && flag.Lookup("test.list").Value.String() == ""
	if a, err := load(); code == 0 && whole && err == nil {
		for _, name := range slices.Sorted(maps.Keys(a.operations)) {
			for _, status := range slices.Sorted(maps.Keys(a.operations[name].responses)) {
				if !a.seen[name][status] {
					fmt.Printf("%s: %d is described and was answered in no test\n", name, status)
					code = 1
				}
			}
		}
	}
	os.Exit(code)
}

func TestEveryRouteIsDescribedAndEveryDescriptionIsRouted(t *testing.T) {
	t.Parallel()
	routes := slices.Sorted(slices.Values(start(t, options{}).server.Routes()))
	described := slices.Sorted(maps.Keys(api(t).operations))
	if diff := cmp.Diff(described, routes); diff != "" {
		t.Errorf("described (-) and routed (+):\n%s", diff)
	}
}

// Every reference leads somewhere, every schema compiles, every example is what
// its schema says, and no two operations share an id.
func TestDescriptionIsSound(t *testing.T) {
	t.Parallel()
	a := api(t)
	ids := map[string]string{}
	for name, o := range a.operations {
		id, _ := a.at(o.pointer)["operationId"].(string)
		if id == "" || ids[id] != "" {
			t.Errorf("%s: operationId %q is missing or that of %s", name, id, ids[id])
		}
		ids[id] = name
		for kind := range o.body {
			a.checkExamples(t, o.pointer+"/requestBody/content/"+escape(kind))
		}
		for _, pointer := range o.responses {
			content, _ := a.at(pointer)["content"].(map[string]any)
			for kind := range content {
				a.checkExamples(t, pointer+"/content/"+escape(kind))
			}
			headers, _ := a.at(pointer)["headers"].(map[string]any)
			for name, h := range headers {
				if ref, ok := h.(map[string]any)["$ref"].(string); ok && a.at(ref) == nil {
					t.Errorf("%s: header %s: %s does not exist", pointer, name, ref)
				}
			}
		}
		var inPath []string
		params, _ := a.at(o.pointer)["parameters"].([]any)
		for _, p := range params {
			m := p.(map[string]any)
			if ref, ok := m["$ref"].(string); ok {
				m = a.at(ref)
			}
			if m["in"] == "path" {
				inPath = append(inPath, m["name"].(string))
			}
		}
		want := regexp.MustCompile(`\{([a-z_]+)\}`).FindAllStringSubmatch(name, -1)
		if len(want) != len(inPath) || len(want) == 1 && want[0][1] != inPath[0] {
			t.Errorf("%s: path parameters described: %v", name, inPath)
		}
	}
	for _, kind := range []string{"schemas", "responses", "parameters", "headers"} {
		for name := range a.at("#/components/" + kind) {
			if kind == "schemas" {
				a.schema(t, "#/components/schemas/"+name)
			}
			text, err := os.ReadFile(description)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Contains(text, []byte(`"#/components/`+kind+`/`+name+`"`)) {
				t.Errorf("component %s/%s is not used", kind, name)
			}
		}
	}
}

func (a *openAPI) checkExamples(t *testing.T, pointer string) {
	t.Helper()
	media := a.at(pointer)
	schema := a.schema(t, pointer+"/schema")
	examples := map[string]any{}
	if e, ok := media["example"]; ok {
		examples["example"] = e
	}
	if more, ok := media["examples"].(map[string]any); ok {
		for name, e := range more {
			examples[name] = e.(map[string]any)["value"]
		}
	}
	for name, e := range examples {
		if err := schema.Validate(e); err != nil {
			t.Errorf("%s: %s: %v", pointer, name, err)
		}
	}
}
