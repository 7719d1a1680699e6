package main

import (
	"bufio"
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"os"

	"github.com/gin-gonic/gin"

	"github.com/curfewhq/curfew/guard"
)

func main() {
	g, err := guard.Open(context.Background(), guard.Config{
		Authority: "http://127.0.0.1:8080", Key: os.Getenv("CURFEW_VERIFIER_KEY"),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer g.Close()
	log.Print(http.ListenAndServe("127.0.0.1:9001", routes(g)))
}

func routes(g *guard.Guard) http.Handler {
	r := gin.New()
	r.Use(gin.Recovery())
	r.GET("/public", func(c *gin.Context) { c.String(http.StatusOK, "hello") })
	r.GET("/", wrap(g.Middleware), whoami)
	r.GET("/strict", wrap(g.Route(guard.Route{Mode: guard.Strict})), whoami)
	return r
}

func whoami(c *gin.Context) {
	claims, _ := guard.FromContext(c.Request.Context())
	c.String(http.StatusOK, claims.Subject)
}

// wrap makes a middleware of net/http one of gin. Where every route is guarded,
// g.Middleware(engine) around all of gin does without it.
func wrap(middleware func(http.Handler) http.Handler) gin.HandlerFunc {
	return func(c *gin.Context) {
		passed := false
		middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			passed = true
			c.Request = r
			c.Writer = writer{c.Writer, w}
			c.Next()
		})).ServeHTTP(c.Writer, c.Request)
		if !passed {
			c.Abort() // it has answered
		}
	}
}

// writer is gin's writer, of which the middleware sees what is written. A guard
// ends streams and WebSockets that way.
type writer struct {
	gin.ResponseWriter
	seen http.ResponseWriter
}

func (w writer) Write(b []byte) (int, error)       { return w.seen.Write(b) }
func (w writer) WriteString(s string) (int, error) { return io.WriteString(w.seen, s) }
func (w writer) Flush()                            { _ = http.NewResponseController(w.seen).Flush() }

func (w writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(w.seen).Hijack()
}
