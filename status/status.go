// Package status shows a pool's live numbers on a web page, for local runs: connections, queue, flights, waits, refusals, who holds a connection, and the
// slowest statements. It is a package of its own, so that a handler without it has no html/template in it.
//
//	page := status.New(status.Options{})
//	db, err := lmipool.Open(ctx, "", &lmipool.Config{Observers: []any{page}})
//	...
//	page.Watch(db)
//	url, err := page.Start(ctx, "127.0.0.1:8080")
//
// The page is for the machine it runs on: it answers only requests that come from a loopback address and name a loopback host, and on Lambda none at all,
// unless Options.AllowRemote is set. It loads nothing from a network, and what it shows is escaped. It shows the texts of statements, with each literal
// replaced by ?, and never an argument.
package status

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/internal/snapshot"
)

//go:embed page.html.tmpl
var pageText string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// Options change what a page shows, and to whom.
type Options struct {
	// Title is the page's heading. Defaults to "lmipool".
	Title string
	// AllowRemote has the page answer any client, also on Lambda. Put something that asks for a password in front of it.
	AllowRemote bool
	// Socket names the Unix socket, or the directory of sockets, of other processes: their LMIPOOL_STATUS_SOCKET. Defaults to none.
	Socket string
}

// Page is an [http.Handler], and an observer of the pool that it shows. Its methods are safe for concurrent use.
type Page struct {
	snapshot.Recorder
	o  Options
	mu sync.Mutex
	db *lmipool.Pool
}

// New makes a page.
func New(o Options) *Page {
	if o.Title == "" {
		o.Title = "lmipool"
	}
	return &Page{o: o}
}

// Watch has the page show db.
func (p *Page) Watch(db *lmipool.Pool) {
	if p == nil {
		panic("status: Watch: the page is nil: want one from New")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.db = db
}

// Start serves the page on addr, such as "127.0.0.1:8080" or ":8080", in the background, until ctx ends, and returns the page's URL. Without a host, addr
// means 127.0.0.1; a host that is no loopback address is an error, unless AllowRemote is set. Port 0 means any free port.
func (p *Page) Start(ctx context.Context, addr string) (url string, err error) {
	host, port, err := net.SplitHostPort(addr)
	switch {
	case err != nil:
		return "", fmt.Errorf("status: the address is %q: want host:port, such as 127.0.0.1:8080", addr)
	case host == "" && !p.o.AllowRemote:
		host = "127.0.0.1"
	case !p.o.AllowRemote && !loopback(host):
		return "", fmt.Errorf("status: the address is %q, which is reachable from elsewhere: want a loopback address such as 127.0.0.1:8080, or Options.AllowRemote", addr)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(host, port))
	if err != nil {
		return "", fmt.Errorf("status: %w", err)
	}
	s := &http.Server{Handler: p, ReadHeaderTimeout: 5 * time.Second}
	context.AfterFunc(ctx, func() { _ = s.Close() })
	go func() { _ = s.Serve(l) }()
	return "http://" + l.Addr().String() + "/", nil
}

// ServeHTTP serves the page at "/", and its numbers at "/snapshot.json", both relative to where the page is mounted.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if why := p.refuses(r); why != "" {
		http.Error(w, "status: "+why, http.StatusForbidden)
		return
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		http.Error(w, "status: the page can only be read", http.StatusMethodNotAllowed)
	case strings.HasSuffix(r.URL.Path, "/snapshot.json"):
		p.serveSnapshots(w)
	case strings.HasSuffix(r.URL.Path, "/"):
		p.servePage(w)
	default:
		http.NotFound(w, r)
	}
}

// refuses returns why r is not answered, or "".
func (p *Page) refuses(r *http.Request) string {
	if p.o.AllowRemote {
		return ""
	}
	if os.Getenv("AWS_LAMBDA_RUNTIME_API") != "" {
		return "this process is a Lambda function: see Options.AllowRemote"
	}
	client, _, _ := net.SplitHostPort(r.RemoteAddr)
	if !loopback(client) {
		return "only this machine may see the page: see Options.AllowRemote"
	}
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	if !loopback(host) { // a page of another site, whose name was made to lead here
		return "the page answers only to the name of a loopback address, such as 127.0.0.1"
	}
	return ""
}

// loopback reports whether host names this machine only.
func loopback(host string) bool {
	host = strings.Trim(host, "[]")
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback() || strings.EqualFold(host, "localhost")
}

func (p *Page) servePage(w http.ResponseWriter) {
	nonce := rand.Text()
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, map[string]string{"Title": p.o.Title, "Nonce": nonce}); err != nil {
		http.Error(w, "status: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", fmt.Sprintf("default-src 'none'; script-src 'nonce-%s'; style-src 'nonce-%s'; connect-src 'self'; "+
		"img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'", nonce, nonce))
	_, _ = w.Write(b.Bytes())
}

// serveSnapshots writes a list: the pool that is watched, and those of the socket.
func (p *Page) serveSnapshots(w http.ResponseWriter) {
	all := []json.RawMessage{}
	p.mu.Lock()
	db := p.db
	p.mu.Unlock()
	if db != nil {
		one, err := json.Marshal(p.Take(db.Pool, snapshot.NewAbout(db.Pool, db.Env()), db.HandlerStat()))
		if err != nil {
			http.Error(w, "status: "+err.Error(), http.StatusInternalServerError)
			return
		}
		all = append(all, one)
	}
	if p.o.Socket != "" {
		others, err := snapshot.Read(p.o.Socket)
		if err != nil {
			http.Error(w, "status: "+err.Error(), http.StatusInternalServerError)
			return
		}
		all = append(all, others...)
	}
	if len(all) == 0 {
		http.Error(w, "no pool is open", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(all)
}
