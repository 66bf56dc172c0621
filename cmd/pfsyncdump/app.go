package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/google/gopacket/layers"
	"github.com/urfave/cli/v2"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/sync/wire/pfsyncprint"
)

// frame is what a source gives.
type frame struct {
	at   time.Time
	link layers.LinkType
	data []byte // valid until the next one
	cut  bool   // data is not all of it
}

// source gives frames until io.EOF or until ctx ends.
type source interface {
	next(ctx context.Context) (frame, error)
	io.Closer
}

const usage = "pfsyncdump [-lnv] [-c count] -r file | -i interface"

func app(stdin io.Reader, stdout, stderr io.Writer) *cli.App {
	verbose := 0
	return &cli.App{
		Name:      "pfsyncdump",
		Usage:     "print pfsync packets",
		UsageText: usage,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "r", Usage: "read pcap or pcapng `file`; - is standard input"},
			&cli.StringFlag{Name: "i", Usage: "capture on `interface` until interrupted"},
			&cli.IntFlag{Name: "c", Usage: "end after `count` packets", DefaultText: "all"},
			&cli.BoolFlag{Name: "v", Usage: "print more; up to three times", Count: &verbose, DisableDefaultText: true},
			&cli.BoolFlag{Name: "n", Usage: "do not look up names: never done, accepted for tcpdump's sake", DisableDefaultText: true},
			&cli.BoolFlag{Name: "l", Usage: "write each packet at once", DisableDefaultText: true},
			&cli.BoolFlag{Name: "e", Hidden: true}, // these are tcpdump's and have no effect
			&cli.BoolFlag{Name: "q", Hidden: true},
			&cli.BoolFlag{Name: "t", Hidden: true},
			&cli.StringFlag{Name: "s", Hidden: true},
		},
		Writer: stdout, ErrWriter: stderr,
		HideHelpCommand: true, HideVersion: true,
		OnUsageError: func(_ *cli.Context, err error, _ bool) error {
			return fmt.Errorf("%w (usage: %s)", err, usage)
		},
		ExitErrHandler: func(*cli.Context, error) {}, // main prints and exits
		Action: func(c *cli.Context) error {
			d := dump{stdin: stdin, stdout: stdout, stderr: stderr, verbose: verbose, count: c.Int("c"), atOnce: c.Bool("l")}
			file, ifName := c.String("r"), c.String("i")
			switch {
			case c.Args().Present():
				return fmt.Errorf("%s: unexpected argument: there are no filter expressions", ifconfig.Shown(c.Args().First()))
			case c.IsSet("c") && d.count < 1:
				return fmt.Errorf("-c %d: a count from 1 on expected", d.count)
			case file != "" && ifName != "":
				return errors.New("-r and -i exclude each other")
			case file != "":
				return d.file(c.Context, file)
			case ifName != "":
				return d.live(c.Context, ifName)
			}
			return errors.New("nothing to read: give -r file or -i interface")
		},
	}
}

type dump struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	verbose        int
	count          int // 0: no end
	atOnce         bool
}

func (d dump) file(ctx context.Context, name string) error {
	src, err := openFile(ctx, name, d.stdin)
	if err != nil && ctx.Err() != nil { // interrupted before anything came
		fmt.Fprintf(d.stderr, "pfsyncdump: %v\n", pfsyncprint.Counts{})
		return nil
	}
	if err != nil {
		return err
	}
	defer src.Close()
	out := bufio.NewWriterSize(d.stdout, 1<<16)
	var w io.Writer = out
	if d.atOnce || name == "-" { // somebody may watch what comes through a pipe
		w = d.stdout
	}
	counts, err := d.print(ctx, src, w)
	if e := out.Flush(); err == nil && e != nil {
		err = fmt.Errorf("output: %w", e)
	}
	if err != nil {
		return fmt.Errorf("%w; %v", err, counts) // one line
	}
	fmt.Fprintf(d.stderr, "pfsyncdump: %v\n", counts)
	return nil
}

func (d dump) live(ctx context.Context, ifName string) error {
	src, err := openLive(ifName)
	if err != nil {
		return err
	}
	defer src.Close()
	fmt.Fprintf(d.stderr, "pfsyncdump: listening on %s\n", ifName)
	counts, err := d.print(ctx, src, d.stdout) // unbuffered: one write a packet
	drops, e := src.drops()
	if err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("%w; %v, %d dropped by the kernel", err, counts, drops)
	}
	fmt.Fprintf(d.stderr, "pfsyncdump: %v, %d dropped by the kernel\n", counts, drops)
	return nil
}

// print prints until there is no more, enough has been printed, or ctx ends: none is an error.
func (d dump) print(ctx context.Context, src source, w io.Writer) (pfsyncprint.Counts, error) {
	p := pfsyncprint.New(w, d.verbose, time.Local)
	for ctx.Err() == nil && (d.count == 0 || p.Counts().Packets < uint64(d.count)) {
		f, err := src.next(ctx)
		if ctx.Err() != nil || errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = p.Frame(f.at, f.link, f.data, f.cut)
		}
		if err != nil {
			return p.Counts(), err
		}
	}
	return p.Counts(), nil
}
