package webui

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"path"
	"regexp"
	"strconv"
	"strings"
)

//go:embed assets/*
var assetFiles embed.FS

const assetPrefix = "/assets/"

type asset struct {
	contentType string
	body        []byte
}

// contentTypes are written down because package mime asks the machine it runs
// on, and a stylesheet with the wrong type is not used.
var contentTypes = map[string]string{
	".css": "text/css; charset=utf-8",
	".js":  "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
}

// assetRef is how one asset names another: url(./moon.svg), from "./live.js".
var assetRef = regexp.MustCompile(`\./([a-z]+\.(?:css|js|svg))`)

// loadAssets puts a hash of its content into the name of each asset, so that
// browsers may keep it forever, and returns the URL of each plain name. What an
// asset names is named first, because the hash covers the new names.
func (ui *UI) loadAssets() (map[string]string, error) {
	files, err := assetFiles.ReadDir("assets")
	if err != nil {
		return nil, fmt.Errorf("webui: %w", err)
	}
	ui.assets = map[string]asset{}
	urls := map[string]string{}
	for len(urls) < len(files) {
		before := len(urls)
		for _, f := range files {
			if urls[f.Name()] != "" {
				continue
			}
			body, err := assetFiles.ReadFile("assets/" + f.Name())
			if err != nil {
				return nil, fmt.Errorf("webui: %w", err)
			}
			ext := path.Ext(f.Name())
			if contentTypes[ext] == "" {
				return nil, fmt.Errorf("webui: no content type for %s", f.Name())
			}
			body = compact(ext, body)
			ready := true
			body = assetRef.ReplaceAllFunc(body, func(ref []byte) []byte {
				url := urls[string(ref[len("./"):])]
				ready = ready && url != ""
				return []byte(url)
			})
			if !ready {
				continue
			}
			sum := sha256.Sum256(body)
			url := assetPrefix + strings.TrimSuffix(f.Name(), ext) + "." + hex.EncodeToString(sum[:6]) + ext
			ui.assets[url] = asset{contentTypes[ext], body}
			urls[f.Name()] = url
		}
		if len(urls) == before {
			return nil, errors.New("webui: assets that name each other, or one that does not exist")
		}
	}
	return urls, nil
}

var (
	cssComment = regexp.MustCompile(`(?s)/\*.*?\*/\s*`)
	cssSpace   = regexp.MustCompile(`\s*;?\s*(})\s*|\s*([{;])\s*|([:,])\s+`)
	jsComment  = regexp.MustCompile(`(?m)^[ \t]*(//.*)?\n|^[ \t]+|[ \t]+// .*$`)
)

// compact leaves out what only we read. It does no more than what is safe
// without a parser: comments, indentation, and spaces that separate nothing in
// a stylesheet. So no string in an asset may go over several lines or hold what
// looks like a comment, and none in a stylesheet punctuation.
func compact(ext string, body []byte) []byte {
	switch ext {
	case ".css":
		return cssSpace.ReplaceAll(cssComment.ReplaceAll(body, nil), []byte("$1$2$3"))
	case ".js":
		return jsComment.ReplaceAll(body, nil)
	}
	return body
}

// Assets serves GET /assets/<name>. Names are looked up in a map: no path of a
// file system can be reached.
func (ui *UI) Assets() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			h.Set("Allow", "GET, HEAD")
			h.Set("Cache-Control", "no-store")
			http.Error(w, "Method not allowed", http.StatusMethodNotAllowed)
			return
		}
		a, ok := ui.assets[r.URL.Path]
		if !ok {
			// Not kept: during a roll-out the next instance may have it.
			h.Set("Cache-Control", "no-store")
			http.Error(w, "There is nothing here", http.StatusNotFound)
			return
		}
		h.Set("Content-Type", a.contentType)
		h.Set("Content-Length", strconv.Itoa(len(a.body)))
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
		// An SVG that is opened by itself is a document like any other.
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		w.WriteHeader(http.StatusOK)
		if r.Method == http.MethodGet {
			_, _ = w.Write(a.body)
		}
	})
}
