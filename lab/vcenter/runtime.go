package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// runtime is the command that boots and stops the lab's machines; both clouds drive the same one.
type runtime struct {
	command string // a line of shell words
	scratch string // a directory for its output while it runs
}

// specification is what the runtime is told about a machine.
type specification struct {
	ID             string   `json:"id"`
	Name           string   `json:"name"`
	Hostname       string   `json:"hostname"`
	Place          string   `json:"place"`
	Address        string   `json:"address"`
	Gateway        string   `json:"gateway"`
	VCPUs          int32    `json:"vcpus"`
	MemoryMB       int32    `json:"memory_mb"`
	AuthorizedKeys []string `json:"authorized_keys"`
	UserData       string   `json:"user_data"`
	Image          string   `json:"image"`
}

// verbLimit bounds one call. A clean shutdown may take as long as systemd grants its services.
const verbLimit = 2 * time.Minute

// call runs one verb to its end and returns its standard output.
func (r runtime) call(stdin []byte, words ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), verbLimit)
	defer cancel()
	argv := append([]string{"-c", "exec " + r.command + ` "$@"`, "runtime"}, words...)
	command := exec.CommandContext(ctx, "/bin/sh", argv...)
	command.Stdin = bytes.NewReader(stdin)
	// Files and not pipes: a machine that the verb leaves running would hold a pipe open.
	stdout, err := r.scratchFile()
	if err != nil {
		return nil, err
	}
	defer stdout.Close()
	stderr, err := r.scratchFile()
	if err != nil {
		return nil, err
	}
	defer stderr.Close()
	command.Stdout, command.Stderr = stdout, stderr
	if err := command.Run(); err != nil {
		said, _ := os.ReadFile(openPath(stderr))
		return nil, fmt.Errorf("machine runtime, %s: %s", strings.Join(words, " "), lastLine(said, err))
	}
	return os.ReadFile(openPath(stdout))
}

// scratchFile gives a file that has no name any more, so that nothing is left whatever happens.
func (r runtime) scratchFile() (*os.File, error) {
	file, err := os.CreateTemp(r.scratch, "runtime-")
	if err != nil {
		return nil, err
	}
	return file, os.Remove(file.Name())
}

func openPath(file *os.File) string {
	return fmt.Sprintf("/proc/self/fd/%d", file.Fd())
}

func lastLine(said []byte, err error) string {
	lines := strings.Split(strings.TrimSpace(string(said)), "\n")
	if last := strings.TrimSpace(lines[len(lines)-1]); last != "" {
		return last
	}
	return err.Error()
}

func (r runtime) define(s specification) error {
	document, err := json.Marshal(s)
	if err != nil {
		return err
	}
	_, err = r.call(document, "define")
	return err
}

func (r runtime) do(verb, id string) error {
	_, err := r.call(nil, verb, id)
	return err
}

// list tells the state of every machine that the runtime knows: running, suspended or off.
func (r runtime) list() (map[string]string, error) {
	document, err := r.call(nil, "list")
	if err != nil {
		return nil, err
	}
	var machines []struct {
		ID    string `json:"id"`
		State string `json:"state"`
	}
	if err := json.Unmarshal(document, &machines); err != nil {
		return nil, fmt.Errorf("machine runtime, list: %w", err)
	}
	states := make(map[string]string, len(machines))
	for _, machine := range machines {
		states[machine.ID] = machine.State
	}
	return states, nil
}
