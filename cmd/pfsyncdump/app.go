package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/google/gopacket/layers"
	"github.com/urfave/cli/v2"

	"github.com/pfsync-linux/pfsync/sync/wire/pfsyncfilter"
	"github.com/pfsync-linux/pfsync/sync/wire/pfsyncprint"
)

// frame is what a source gives.
type frame struct {
	at   time.Time
	link layers.LinkType
	data []byte // valid until the next one

	length int // of the frame; data may be only its beginning
}

// source gives frames until io.EOF or until ctx ends.
type source interface {
	next(ctx context.Context) (frame, error)
	io.Closer
}

const usage = "pfsyncdump [-lnv] [-c count] [--json | -w file [-C size [-W files]]] -r file | -i interface [expression]"

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
			&cli.StringFlag{Name: "w", Usage: "write the packets to pcapng `file` instead; - is standard output"},
			&cli.Float64Flag{Name: "C", Usage: "with -w: begin another file, file1, file2 and so on, after `size` million bytes", DefaultText: "never"},
			&cli.IntFlag{Name: "W", Usage: "with -C: keep so many `files`, file0 and so on, and begin again with the first", DefaultText: "all"},
			&cli.BoolFlag{Name: "json", Usage: "print a line of JSON for each packet", DisableDefaultText: true},
			&cli.BoolFlag{Name: "v", Usage: "print more; up to three times", Count: &verbose, DisableDefaultText: true},
			&cli.BoolFlag{Name: "n", Usage: "do not look up names: never done, accepted for tcpdump's sake", DisableDefaultText: true},
			&cli.BoolFlag{Name: "l", Usage: "write each packet at once", DisableDefaultText: true},
			&cli.BoolFlag{Name: "U", Hidden: true}, // as -l
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
			d := dump{
				stdin: stdin, stdout: stdout, stderr: stderr, verbose: verbose, json: c.Bool("json"),
				count: c.Int("c"), write: c.String("w"), parts: parts{size: int64(c.Float64("C") * 1e6), most: c.Int("W")}, atOnce: c.Bool("l") || c.Bool("U"),
			}
			file, ifName := c.String("r"), c.String("i")
			switch {
			case c.IsSet("c") && d.count < 1:
				return fmt.Errorf("-c %d: a count from 1 on expected", d.count)
			case file != "" && ifName != "":
				return errors.New("-r and -i exclude each other")
			case file == "" && ifName == "":
				return errors.New("nothing to read: give -r file or -i interface")
			case c.IsSet("C") && (d.write == "" || d.write == "-"):
				return errors.New("-C: needs -w file")
			case c.IsSet("C") && d.parts.size < 1:
				return fmt.Errorf("-C %v: a number of million bytes expected", c.Float64("C"))
			case c.IsSet("W") && !c.IsSet("C"):
				return errors.New("-W: needs -C size")
			case c.IsSet("W") && d.parts.most < 2:
				return fmt.Errorf("-W %d: a number of files from 2 on expected", d.parts.most)
			case d.json && d.write != "":
				return errors.New("--json and -w exclude each other: write first, then read the file with -r")
			}
			if c.Args().Present() {
				filter, err := pfsyncfilter.Parse(c.Args().Slice()...)
				if err != nil {
					return err
				}
				d.filter = filter
			}
			if file != "" {
				return d.file(c.Context, file)
			}
			return d.live(c.Context, ifName)
		},
	}
}

type dump struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	verbose        int
	json           bool
	filter         *pfsyncfilter.Filter
	count          int    // 0: no end
	write          string // a file; empty: packets are printed
	parts          parts  // that it is written in
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
	d.atOnce = d.atOnce || name == "-" // somebody may watch what comes through a pipe
	to, err := d.create("", src.file)
	if err != nil {
		return err
	}
	counts, err := d.run(ctx, src, to)
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
	d.atOnce = true
	to, err := d.create(ifName, nil)
	if err != nil {
		return err
	}
	fmt.Fprintf(d.stderr, "pfsyncdump: listening on %s\n", ifName)
	counts, err := d.run(ctx, src, to)
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

// create makes the file to write to, if one is wanted. in is the file that is read, if
// it is one.
func (d dump) create(ifName string, in *os.File) (*captureWriter, error) {
	if d.write == "" {
		return nil, nil
	}
	to, err := createFile(d.write, d.parts, d.stdout, ifName, in)
	if err != nil {
		return nil, err
	}
	to.atOnce = d.atOnce
	if ifName != "" { // a reader at the end of a pipe may wait for it
		if err := to.begin(layers.LinkTypeRaw); err != nil {
			to.Close()
			return nil, err
		}
	}
	return to, nil
}

// run prints what src gives, or writes it to a file.
func (d dump) run(ctx context.Context, src source, to *captureWriter) (counts pfsyncprint.Counts, err error) {
	if to != nil {
		defer func() { err = first(err, to.Close()) }()
		return d.packets(ctx, src, io.Discard, to)
	}
	out := bufio.NewWriterSize(d.stdout, 1<<16)
	defer func() { err = first(err, wrapOutput(out.Flush())) }()
	var w io.Writer = out
	if d.atOnce {
		w = d.stdout // one write a packet
	}
	return d.packets(ctx, src, w, nil)
}

func first(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

func wrapOutput(err error) error {
	if err != nil {
		return fmt.Errorf("output: %w", err)
	}
	return nil
}

// packets prints, or writes, until there is no more, enough has been printed, or ctx
// ends: none is an error.
func (d dump) packets(ctx context.Context, src source, w io.Writer, to *captureWriter) (pfsyncprint.Counts, error) {
	p := pfsyncprint.New(w, d.verbose, time.Local)
	if d.json {
		p = pfsyncprint.NewJSON(w)
	}
	p.Select(d.filter)
	for ctx.Err() == nil && (d.count == 0 || p.Counts().Printed() < uint64(d.count)) {
		f, err := src.next(ctx)
		if ctx.Err() != nil || errors.Is(err, io.EOF) {
			break
		}
		before := p.Counts().Printed()
		if err == nil {
			err = p.Frame(f.at, f.link, f.data, len(f.data) < f.length)
		}
		if err == nil && to != nil && p.Counts().Printed() > before {
			err = to.write(f)
		}
		if err != nil {
			return p.Counts(), err
		}
	}
	return p.Counts(), nil
}
