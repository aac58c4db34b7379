// The lab's vCenter: govmomi's simulator with an inventory of our own, and a mirror that makes every
// virtual machine in it a booted machine of the lab.
//
// Build it without a network, from Debian's golang-github-vmware-govmomi-dev:
//
//	GO111MODULE=off GOPATH=/usr/share/gocode go build
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"reflect"
	"syscall"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/types"
)

type options struct {
	listen      string
	certificate string
	key         string
	user        string
	password    string // the file that holds it: an argument list is no place for a secret
	place       string
	state       string
	runtime     string
	every       time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.listen, "listen", "127.0.0.1:0", "address and port")
	flag.StringVar(&o.certificate, "certificate", "", "PEM file with the server's certificate")
	flag.StringVar(&o.key, "key", "", "PEM file with its private key")
	flag.StringVar(&o.user, "user", "dcctl@lab.local", "the only user")
	flag.StringVar(&o.password, "password-file", "", "file with the user's password")
	flag.StringVar(&o.place, "place", "west", "the lab's name of this site")
	flag.StringVar(&o.state, "state", "", "directory for everything that this process writes")
	flag.DurationVar(&o.every, "every", 2*time.Second, "how often to compare with the machine runtime")
	flag.Parse()
	o.runtime = os.Getenv("DCCTL_LAB_MACHINE")
	if err := run(o); err != nil {
		fmt.Fprintf(os.Stderr, "vcenter: %s\n", err)
		os.Exit(1)
	}
}

func run(o options) error {
	if o.runtime == "" {
		return fmt.Errorf("DCCTL_LAB_MACHINE must hold the machine runtime's command line")
	}
	password, err := os.ReadFile(o.password)
	if err != nil {
		return err
	}
	certificate, err := tls.LoadX509KeyPair(o.certificate, o.key)
	if err != nil {
		return err
	}

	service, err := newService(url.UserPassword(o.user, string(bytes.TrimSpace(password))))
	if err != nil {
		return err
	}
	m := newMirror(runtime{command: o.runtime, scratch: o.state}, o.place)
	if err := build(service, m, o.place, filepath.Join(o.state, "datastore")); err != nil {
		return fmt.Errorf("build the inventory: %w", err)
	}

	listener, err := net.Listen("tcp", o.listen)
	if err != nil {
		return err
	}
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	go m.watch(stop, o.every, filepath.Join(o.state, "lost"))
	server := serve(service, listener, certificate)

	// Whoever started us waits for this file; it appears only once connections are accepted.
	ready := filepath.Join(o.state, "ready")
	if err := os.WriteFile(ready, []byte(listener.Addr().String()+"\n"), 0o600); err != nil {
		return err
	}
	defer os.Remove(ready)
	<-stop.Done()
	return server.Close()
}

func init() {
	// pyVmomi's name for a reference where any type may stand; the simulator would read it as nothing.
	types.Add("ManagedObject", reflect.TypeOf(types.ManagedObjectReference{}))
}

// newService makes an empty vCenter in which only that user may log in.
func newService(user *url.Userinfo) (*simulator.Service, error) {
	model := simulator.VPX()
	model.Datacenter = 0
	if err := model.Create(); err != nil {
		return nil, err
	}
	// The simulator takes any password unless it is told whose is right.
	model.Service.Listen = &url.URL{User: user}
	model.Service.RegisterSDK(simulator.Map)
	return model.Service, nil
}

// serve answers the SOAP API and nothing else: the simulator's own server would also offer datastore
// files and guest files to whoever asks.
func serve(service *simulator.Service, listener net.Listener, certificate tls.Certificate) *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc(vim25.Path, service.ServeSDK)
	mux.HandleFunc(vim25.Path+"/vimServiceVersions.xml", service.ServiceVersions)
	server := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       15 * time.Minute,
		TLSConfig: &tls.Config{
			Certificates: []tls.Certificate{certificate},
			MinVersion:   tls.VersionTLS12,
		},
	}
	go func() {
		if err := server.ServeTLS(listener, "", ""); err != http.ErrServerClosed {
			log.Fatalf("serve: %s", err)
		}
	}()
	return server
}
