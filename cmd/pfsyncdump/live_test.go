package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/songgao/water"

	"github.com/pfsync-linux/pfsync/test/corpus"
	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
)

// program is a running pfsyncdump: this test binary under its name.
type program struct {
	cmd            *exec.Cmd
	stdout, stderr *bufio.Reader
}

func start(t *testing.T, n *lab.NS, args ...string) *program {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "pfsyncdump")
	if err := os.Symlink(self, name); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second) // a hanging test fails
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "TZ=UTC", "GORACE=atexit_sleep_ms=0")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Start(cmd); err != nil {
		t.Fatal(err)
	}
	p := &program{cmd, bufio.NewReader(stdout), bufio.NewReader(stderr)}
	p.want(t, p.stderr, "pfsyncdump: listening on "+args[1]+"\n")
	return p
}

// want reads one line that ends as told.
func (p *program) want(t *testing.T, r *bufio.Reader, suffix string) {
	t.Helper()
	line, err := r.ReadString('\n')
	if err != nil || !strings.HasSuffix(line, suffix) {
		rest, _ := io.ReadAll(p.stderr)
		t.Fatalf("line %q, %v; want %q\n%s", line, err, suffix, rest)
	}
}

// end expects that the program has printed no more than the counts.
func (p *program) end(t *testing.T, status int, stderr string) {
	t.Helper()
	out, err := io.ReadAll(p.stdout)
	if err != nil || len(out) > 0 {
		t.Errorf("more output: %q, %v", out, err)
	}
	rest, err := io.ReadAll(p.stderr)
	if err != nil || string(rest) != stderr {
		t.Errorf("stderr %q, %v; want %q", rest, err, stderr)
	}
	p.cmd.Wait()
	if got := p.cmd.ProcessState.ExitCode(); got != status {
		t.Errorf("exit status %d, want %d", got, status)
	}
}

// send puts frames on an interface as they are.
func send(t *testing.T, n *lab.NS, ifName string, frames ...[]byte) {
	t.Helper()
	err := n.Do(func() error {
		ifi, err := net.InterfaceByName(ifName)
		if err != nil {
			return err
		}
		fd, err := syscall.Socket(syscall.AF_PACKET, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer syscall.Close(fd)
		for _, f := range frames {
			if err := syscall.Sendto(fd, f, 0, &syscall.SockaddrLinklayer{Ifindex: ifi.Index}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

const noOthers = " (0 of another version, 0 malformed, 0 cut off by the capture), 0 not pfsync, 0 dropped by the kernel\n"

func TestCaptureOnEthernet(t *testing.T) {
	a, b := labtest.NewNS(t), labtest.NewNS(t)
	labtest.Run(t, a, "ip link add sis2 type veth peer name sis2 netns "+b.Name)
	labtest.Run(t, a, "ip link set sis2 up")
	labtest.Run(t, b, "ip link set sis2 up")
	clr := corpus.Frames(t, "openbsd80-clear-all.pcap")[0]
	req := corpus.Frames(t, "openbsd80-start.pcap")[0]
	udp := append([]byte(nil), clr.Data...)
	udp[14+9] = 17

	// By IPv6, whole and as a fragment.
	from := []byte{0x33, 0x33, 0, 0, 0, 0xf0, 2, 0, 0, 0, 0, 1, 0x86, 0xdd, 0x60, 0, 0, 0, 0, byte(len(clr.Payload())), 240, 255}
	from = append(from, net.ParseIP("fe80::1")...)
	from = append(from, net.ParseIP("ff12::f0")...)
	clr6 := append(slices.Clip(from), clr.Payload()...)
	fragment := append(append(slices.Clip(from), 240, 0, 0, 1, 0, 0, 0, 7), clr.Payload()...)
	fragment[14+5], fragment[14+6] = fragment[14+5]+8, 44
	udp6 := slices.Clone(fragment)
	udp6[14+40] = 17

	received := start(t, a, "-i", "sis2")
	sent := start(t, b, "-i", "sis2", "-c", "1")
	send(t, b, "sis2", udp, udp6, clr.Data, req.Data, clr6, fragment)
	received.want(t, received.stdout, " 10.9.0.1: PFSYNCv6 CLR ST creatorid: a1a1a1a1\n")
	received.want(t, received.stdout, " 10.9.0.3: PFSYNCv6 UPD ST REQ id: 0000000000000000 creatorid: 00000000\n")
	received.want(t, received.stdout, " fe80::1: PFSYNCv6 CLR ST creatorid: a1a1a1a1\n")
	received.want(t, received.stdout, " fe80::1: PFSYNC malformed: a fragment of an IP packet\n")
	sent.want(t, sent.stdout, " 10.9.0.1: PFSYNCv6 CLR ST creatorid: a1a1a1a1\n")
	sent.end(t, 0, "pfsyncdump: 1 packet"+noOthers)

	if err := received.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	received.end(t, 0, strings.Replace("pfsyncdump: 4 packets"+noOthers, "0 malformed", "1 malformed", 1))
}

func TestCaptureOnTUN(t *testing.T) {
	n := labtest.NewNS(t)
	var tun *water.Interface
	err := n.Do(func() (err error) {
		tun, err = water.New(water.Config{
			DeviceType: water.TUN, PlatformSpecificParams: water.PlatformSpecificParams{Name: "pfsync0"},
		})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer tun.Close()
	labtest.Run(t, n, "ip link set pfsync0 up")
	p := start(t, n, "-i", "pfsync0", "-v", "-c", "1")
	if _, err := tun.Write(corpus.Frames(t, "openbsd80-clear-all.pcap")[0].IP()); err != nil {
		t.Fatal(err)
	}
	p.want(t, p.stdout, " 10.9.0.1 > 224.0.0.240: PFSYNCv6 len 44\n")
	p.want(t, p.stdout, "    act CLR ST count 1\n")
	p.want(t, p.stdout, "\tcreatorid: a1a1a1a1\n")
	p.end(t, 0, "pfsyncdump: 1 packet"+noOthers)
}

func TestFilterOfALiveCapture(t *testing.T) {
	n := labtest.NewNS(t)
	labtest.Run(t, n, "ip link add sis2 type veth peer name other")
	labtest.Run(t, n, "ip link set sis2 up")
	labtest.Run(t, n, "ip link set other up")
	p := start(t, n, "-i", "sis2", "-c", "1", "act", "clr", "and", "peer", "10.9.0.1")
	send(t, n, "other", corpus.Frames(t, "openbsd80-start.pcap")[0].Data, corpus.Frames(t, "openbsd80-clear-all.pcap")[0].Data)
	p.want(t, p.stdout, " 10.9.0.1: PFSYNCv6 CLR ST creatorid: a1a1a1a1\n")
	p.end(t, 0, strings.Replace("pfsyncdump: 2 packets"+noOthers, ", 0 not", ", 1 left out by the filter, 0 not", 1))
}

// Each packet is in the file at once, so that others can read along.
func TestWriteOfALiveCapture(t *testing.T) {
	n := labtest.NewNS(t)
	labtest.Run(t, n, "ip link add sis2 type veth peer name other")
	labtest.Run(t, n, "ip link set sis2 up")
	labtest.Run(t, n, "ip link set other up")
	file := filepath.Join(t.TempDir(), "sync.pcapng")
	p := start(t, n, "-i", "sis2", "-w", file, "not", "act", "clr")
	if out, _, err := run(t, nil, "-r", file); err != nil || out != "" {
		t.Errorf("before the first packet: %q, %v", out, err)
	}
	clr, req := corpus.Frames(t, "openbsd80-clear-all.pcap")[0], corpus.Frames(t, "openbsd80-start.pcap")[0]
	send(t, n, "other", clr.Data, req.Data)
	eventually(t, func() error {
		out, _, err := run(t, nil, "-r", file)
		if err != nil || !strings.HasSuffix(out, " 10.9.0.3: PFSYNCv6 UPD ST REQ id: 0000000000000000 creatorid: 00000000\n") {
			return fmt.Errorf("the file has %q, %v", out, err)
		}
		return nil
	})
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	p.end(t, 0, strings.Replace("pfsyncdump: 2 packets"+noOthers, ", 0 not", ", 1 left out by the filter, 0 not", 1))
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(b, req.IP()) || bytes.Contains(b, clr.IP()) || !bytes.Contains(b, []byte("sis2")) {
		t.Error("the file has not the packet that was selected, the other one, or not the interface's name")
	}
}

func eventually(t *testing.T, cond func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := lab.Eventually(ctx, "capture", cond); err != nil {
		t.Fatal(err)
	}
}

func TestInterfaceThatGoesAway(t *testing.T) {
	n := labtest.NewNS(t)
	labtest.Run(t, n, "ip link add sis2 type veth peer name other")
	labtest.Run(t, n, "ip link set sis2 up")
	p := start(t, n, "-i", "sis2")
	labtest.Run(t, n, "ip link del sis2")
	p.end(t, 1, "pfsyncdump: sis2: the interface is down or gone; 0 packets"+noOthers)
}
