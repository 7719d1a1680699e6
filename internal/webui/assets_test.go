package webui

import (
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAssets(t *testing.T) {
	ui := newUI(t, Config{})
	hashed := regexp.MustCompile(`^/assets/[a-z]+\.[0-9a-f]{12}\.(css|js|svg)$`)
	if len(ui.assets) != 8 {
		t.Errorf("%d assets", len(ui.assets))
	}
	for url, a := range ui.assets {
		if !hashed.MatchString(url) {
			t.Errorf("%s has no hash in its name", url)
		}
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			w := httptest.NewRecorder()
			ui.Assets().ServeHTTP(w, httptest.NewRequest(method, url, nil))
			want := http.Header{
				"Content-Type":                 {map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}[path.Ext(url)]},
				"Content-Length":               {strconv.Itoa(len(a.body))},
				"Cache-Control":                {"public, max-age=31536000, immutable"},
				"Content-Security-Policy":      {"default-src 'none'; frame-ancestors 'none'"},
				"Cross-Origin-Resource-Policy": {"same-origin"},
				"X-Content-Type-Options":       {"nosniff"},
			}
			if diff := cmp.Diff(want, w.Header()); diff != "" || w.Code != http.StatusOK {
				t.Errorf("%s %s: %d %s", method, url, w.Code, diff)
			}
			if empty := w.Body.Len() == 0; empty != (method == http.MethodHead) {
				t.Errorf("%s %s: body of %d bytes", method, url, w.Body.Len())
			}
		}
		// Nothing comes from anywhere else. The one address is a namespace.
		body := strings.ReplaceAll(string(a.body), `xmlns="http://www.w3.org/2000/svg"`, "")
		if regexp.MustCompile(`(?i)https?://|@import|url\(//|eval\(|innerHTML`).MatchString(body) {
			t.Errorf("%s reaches outside or builds code", url)
		}
		if ref := assetRef.FindString(body); ref != "" {
			t.Errorf("%s still names %s", url, ref)
		}
		for _, ref := range regexp.MustCompile(`/assets/[a-z0-9.]+`).FindAllString(body, -1) {
			if _, ok := ui.assets[ref]; !ok {
				t.Errorf("%s names %s, which is not there", url, ref)
			}
		}
	}
}

func TestNoOtherFileIsServed(t *testing.T) {
	ui := newUI(t, Config{})
	for _, target := range []string{
		"/assets/", "/assets", "/assets/page.css", "/assets/page.000000000000.css", "/assets/../webui.go", "/assets/..%2fwebui.go",
		"/assets/%2e%2e/templates/login.html", "/assets//etc/passwd", "/assets/..\\webui.go", "/assets/assets/page.css", "/templates/login.html", "/",
		"/assets/page.css%00.js",
	} {
		w := httptest.NewRecorder()
		ui.Assets().ServeHTTP(w, httptest.NewRequest(http.MethodGet, target, nil))
		if w.Code != http.StatusNotFound || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d, %s", target, w.Code, w.Header().Get("Cache-Control"))
		}
	}
	for url := range ui.assets {
		w := httptest.NewRecorder()
		ui.Assets().ServeHTTP(w, httptest.NewRequest(http.MethodPost, url, nil))
		if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" {
			t.Errorf("POST %s: %d", url, w.Code)
		}
	}
}

func TestCompact(t *testing.T) {
	for _, test := range []struct{ ext, in, want string }{
		{".css", "/* why\n   so */\na, b > c {\n  color: red; margin: 0 auto;\n}\n@media (max-width: 9rem) { a { b: c; } }\n", "a,b > c{color:red;margin:0 auto}@media (max-width:9rem){a{b:c}}"},
		{".js", "// why\nif (a) {\n  // so\n\n  b(`https://x`); // here\n}\n", "if (a) {\nb(`https://x`);\n}\n"},
		{".svg", "<svg> <a/> </svg>", "<svg> <a/> </svg>"},
	} {
		if got := string(compact(test.ext, []byte(test.in))); got != test.want {
			t.Errorf("%s: %q, want %q", test.ext, got, test.want)
		}
	}
}
