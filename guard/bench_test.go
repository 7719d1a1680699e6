package guard_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/curfewhq/curfew/guard"
	"github.com/curfewhq/curfew/guard/guardtest"
)

// BenchmarkMiddleware is what a guard adds to a request with a known token,
// without what the server does.
func BenchmarkMiddleware(b *testing.B) {
	a := guardtest.New(b)
	g := a.Guard(b, guard.Config{})
	text, _ := a.Issue(guardtest.Token{})
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Authorization", "Bearer "+text)
	h := g.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			h.ServeHTTP(sink{}, r)
		}
	})
}
