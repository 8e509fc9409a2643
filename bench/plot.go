package bench

import (
	"bytes"
	"errors"
	"fmt"
	"image/color"
	"io"
	"math"
	"regexp"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// ErrNoPlot: the report has no rows for the plot.
var ErrNoPlot = errors.New("bench: no rows for this plot")

// figures are the plots, by name.
var figures = []struct {
	name, title, caption string
	draw                 func(*Report, []string) (*plot.Plot, error)
}{
	{"throughput", "Throughput by frame size", "Sealing on one core. Both axes are logarithmic.", (*Report).plotThroughput},
	{"latency", "Latency distribution", "Sealing single frames: so many percent of them took at most so long.", (*Report).plotLatency},
	{"cost", "Cost per stream", "Share of one core that sealing one stream takes. Logarithmic.", (*Report).plotCost},
	{"scaling", "Core scaling", "Sealing on several cores, each with a key of its own, against one core. The thin line is perfect.", (*Report).plotScaling},
}

// PlotNames are the names of the plots.
func PlotNames() (names []string) {
	for _, f := range figures {
		names = append(names, f.name)
	}
	return names
}

// palette tells modes apart in print and on screens, light and dark. In SVG the colours
// stand for variables of the style sheet.
var (
	palette = []color.NRGBA{
		{0x1f, 0x6f, 0xd6, 255}, {0xd9, 0x48, 0x01, 255}, {0x2a, 0x91, 0x4e, 255}, {0x8e, 0x44, 0xad, 255}, {0xb8, 0x86, 0x0b, 255},
		{0x00, 0x86, 0x8b, 255}, {0xc2, 0x18, 0x5b, 255}, {0x6b, 0x70, 0x7a, 255}, {0x7a, 0x4f, 0x2b, 255}, {0x4b, 0x4f, 0xc4, 255},
	}
	ink   = color.NRGBA{0x01, 0x23, 0x45, 255}
	faint = color.NRGBA{0xd3, 0xd7, 0xde, 255}
)

// notPlotted are variants of rows that are plotted, and would lie on them.
func notPlotted(suite string) bool {
	return suite == "noop" || strings.HasSuffix(suite, "-64") || strings.HasSuffix(suite, "-32") ||
		strings.HasPrefix(suite, "aes-256-ctr") || strings.HasPrefix(suite, "aes-256-xts") || suite == "xcrypto-chacha20-poly1305"
}

// plotted are the modes that are drawn, in the order of their colours: as many as
// can be told apart. Custom ones, which come after ours, go first.
func (r *Report) plotted() []string {
	var names []string
	for _, m := range r.Modes {
		if !notPlotted(m.Suite) && slices.ContainsFunc(r.Results, func(x Result) bool { return x.Suite == m.Suite }) {
			names = append(names, m.Suite)
		}
	}
	if len(names) > len(palette) {
		names = names[:len(palette)]
	}
	return names
}

func newPlot(size vg.Length) *plot.Plot {
	p := plot.New()
	p.BackgroundColor = color.Transparent
	style := func(f *font.Font, c *color.Color) {
		*f = font.Font{Typeface: "Liberation", Variant: "Sans", Size: size}
		*c = ink
	}
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		style(&a.Label.TextStyle.Font, &a.Label.TextStyle.Color)
		style(&a.Tick.Label.Font, &a.Tick.Label.Color)
		a.LineStyle.Color, a.Tick.LineStyle.Color = ink, ink
		a.LineStyle.Width, a.Tick.LineStyle.Width = 0.7, 0.7
		a.Tick.Length = 4
		a.Padding = 0
	}
	p.X.Label.Padding, p.Y.Label.Padding = 4, 4
	style(&p.Legend.TextStyle.Font, &p.Legend.TextStyle.Color)
	grid := plotter.NewGrid()
	grid.Horizontal.Color, grid.Vertical.Color = faint, faint
	grid.Horizontal.Width, grid.Vertical.Width = 0.6, 0.6
	p.Add(grid)
	return p
}

// line adds a mode's curve.
func line(p *plot.Plot, i int, name string, points plotter.XYs, joined bool) error {
	l, dots, err := plotter.NewLinePoints(points)
	if err != nil {
		return err
	}
	l.Color, l.Width = palette[i], 1.6
	if i >= 5 {
		l.Dashes = []vg.Length{5, 2.5}
	}
	shapes := []draw.GlyphDrawer{draw.CircleGlyph{}, draw.BoxGlyph{}, draw.PyramidGlyph{}}
	dots.Shape, dots.Color, dots.Radius = shapes[i%len(shapes)], palette[i], 2.8
	if joined {
		p.Add(l)
		p.Legend.Add(name, l, dots)
	} else {
		dots.Radius = 4
		p.Legend.Add(name, dots)
	}
	p.Add(dots)
	return nil
}

// decades marks powers of ten, and what lies between them without a label.
type decades struct{ label func(float64) string }

func (d decades) Ticks(low, high float64) (ticks []plot.Tick) {
	first, last := math.Floor(math.Log10(low)), math.Ceil(math.Log10(high))
	few := last-first <= 2
	for e := first; e <= last; e++ {
		for _, m := range []float64{1, 2, 3, 4, 5, 6, 7, 8, 9} {
			v := m * math.Pow(10, e)
			if v < low*0.999 || v > high*1.001 {
				continue
			}
			t := plot.Tick{Value: v}
			if m == 1 || few && (m == 2 || m == 5) {
				t.Label = d.label(v)
			}
			ticks = append(ticks, t)
		}
	}
	return ticks
}

func rateLabel(mbs float64) string {
	if mbs >= 1000 {
		return trim(mbs/1000) + " GB/s"
	}
	return trim(mbs) + " MB/s"
}

func timeLabel(ns float64) string {
	switch {
	case ns >= 1e6:
		return trim(ns/1e6) + " ms"
	case ns >= 1e3:
		return trim(ns/1e3) + " µs"
	}
	return trim(ns) + " ns"
}

func percentLabel(v float64) string { return trim(v) + " %" }

func trim(v float64) string { return fmt.Sprintf("%.3g", v) }

func sizeLabel(n int) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	return trim(float64(n)/1000) + " kB"
}

// usable are the rows that may be drawn.
func (r *Report) usable(op Op, suite string, match func(*Result) bool) []*Result {
	return r.rows(op, func(x *Result) bool { return x.Suite == suite && x.NS > 0 && !x.Noisy && match(x) })
}

func logScale(a *plot.Axis, label func(float64) string) {
	a.Scale = plot.LogScale{}
	a.Tick.Marker = decades{label}
	// To whole steps, so that curves do not touch the frame.
	a.Min, a.Max = a.Min*0.8, a.Max*1.25
}

func (r *Report) plotThroughput(suites []string) (*plot.Plot, error) {
	p := newPlot(11)
	var marks []plot.Tick
	for i, s := range suites {
		var points plotter.XYs
		for _, x := range r.usable(Seal, s, fixedSize) {
			points = append(points, plotter.XY{X: float64(x.Size), Y: x.MBs})
			t := plot.Tick{Value: float64(x.Size), Label: sizeLabel(x.Size)}
			if !slices.Contains(marks, t) {
				marks = append(marks, t)
			}
		}
		slices.SortFunc(points, func(a, b plotter.XY) int { return int(a.X - b.X) })
		if len(points) == 0 {
			continue
		}
		if err := line(p, i, s, points, true); err != nil {
			return nil, err
		}
	}
	if len(marks) == 0 {
		return nil, ErrNoPlot
	}
	logScale(&p.Y, rateLabel)
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.ConstantTicks(marks)
	p.X.Min, p.X.Max = p.X.Min*0.8, p.X.Max*1.25
	p.X.Label.Text = "frame"
	return p, nil
}

func (r *Report) plotLatency(suites []string) (*plot.Plot, error) {
	p := newPlot(11)
	size, any := r.latencySize(), false
	for i, s := range suites {
		// Latencies are a distribution: what disturbed them is a part of it.
		for _, x := range r.rows(Seal, func(x *Result) bool { return x.Suite == s && x.Size == size && fixedSize(x) && len(x.Latency) > 0 }) {
			var points plotter.XYs
			for _, q := range x.Latency {
				if q.Percent >= 50 {
					points = append(points, plotter.XY{X: -math.Log10(1 - q.Percent/100), Y: max(q.NS, 1)})
				}
			}
			any = true
			if err := line(p, i, s, points, true); err != nil {
				return nil, err
			}
		}
	}
	if !any {
		return nil, ErrNoPlot
	}
	logScale(&p.Y, timeLabel)
	var marks []plot.Tick
	for _, percent := range []float64{50, 90, 99, 99.9, 99.99} {
		marks = append(marks, plot.Tick{Value: -math.Log10(1 - percent/100), Label: percentLabel(percent)})
	}
	marks[4].Label = "99.99 %"
	p.X.Tick.Marker = plot.ConstantTicks(marks)
	p.X.Max = 4.15
	p.X.Label.Text = fmt.Sprintf("of frames of %s", bytesOf(size))
	return p, nil
}

func (r *Report) plotCost(suites []string) (*plot.Plot, error) {
	p := newPlot(11)
	any := false
	for i, s := range suites {
		var points plotter.XYs
		for at, f := range r.Profiles {
			for _, x := range r.usable(Seal, s, func(x *Result) bool { return x.Profile == f.Name }) {
				// Beside each other, so that none hides another.
				shift := 0.6 * (float64(i) - float64(len(suites)-1)/2) / float64(len(suites))
				points = append(points, plotter.XY{X: float64(at) + shift, Y: 100 * x.CoreShare})
			}
		}
		if len(points) == 0 {
			continue
		}
		any = true
		if err := line(p, i, s, points, false); err != nil {
			return nil, err
		}
	}
	if !any {
		return nil, ErrNoPlot
	}
	logScale(&p.Y, percentLabel)
	var marks []plot.Tick
	for at, f := range r.Profiles {
		name := f.Name
		if len(name) > 16 {
			name = name[:15] + "…"
		}
		marks = append(marks, plot.Tick{Value: float64(at), Label: strings.ReplaceAll(name, "-", "\n")})
	}
	p.X.Tick.Marker = plot.ConstantTicks(marks)
	p.X.Min, p.X.Max = -0.5, float64(len(r.Profiles))-0.5
	return p, nil
}

func (r *Report) plotScaling(suites []string) (*plot.Plot, error) {
	p := newPlot(11)
	most := 0
	var marks []plot.Tick
	for i, s := range suites {
		var points plotter.XYs
		for _, x := range r.usable(SealParallel, s, func(x *Result) bool { return x.Scaling > 0 }) {
			points = append(points, plotter.XY{X: float64(x.Cores), Y: x.Scaling})
			if t := (plot.Tick{Value: float64(x.Cores), Label: fmt.Sprint(x.Cores)}); !slices.Contains(marks, t) {
				marks = append(marks, t)
			}
			most = max(most, x.Cores)
		}
		if len(points) == 0 {
			continue
		}
		if err := line(p, i, s, points, true); err != nil {
			return nil, err
		}
	}
	if most < 2 {
		return nil, ErrNoPlot
	}
	ideal, err := plotter.NewLine(plotter.XYs{{X: 1, Y: 1}, {X: float64(most), Y: float64(most)}})
	if err != nil {
		return nil, err
	}
	ideal.Color, ideal.Width = ink, 0.7
	p.Add(ideal)
	p.X.Tick.Marker = plot.ConstantTicks(marks)
	p.X.Label.Text, p.Y.Label.Text = "cores", "times one core"
	p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = 0.9, float64(most)+0.1, 0, max(p.Y.Max, float64(most))*1.08
	return p, nil
}

func (r *Report) figure(name string) (*plot.Plot, string, error) {
	for _, f := range figures {
		if f.name == name {
			p, err := f.draw(r, r.plotted())
			return p, f.title, err
		}
	}
	return nil, "", fmt.Errorf("bench: no plot %q, known are %v", name, PlotNames())
}

// WritePNG writes a plot for print: white, with its title and its legend. It is
// ErrNoPlot if no row is in it.
func (r *Report) WritePNG(w io.Writer, name string) error {
	p, title, err := r.figure(name)
	if err != nil {
		return err
	}
	p.Title.Text = title
	p.Title.TextStyle.Font = font.Font{Typeface: "Liberation", Variant: "Sans", Size: 14}
	p.Title.Padding = 8
	legend := p.Legend
	p.Legend = plot.NewLegend()
	legend.Top, legend.Left = true, true
	legend.Padding = 3
	const width, height, side = 760, 400, 200
	c := vgimg.NewWith(vgimg.UseWH(width, height), vgimg.UseDPI(144), vgimg.UseBackgroundColor(color.White))
	all := draw.New(c)
	p.Draw(draw.Crop(all, 12, -side, 12, -12))
	legend.Draw(draw.Crop(all, width-side+12, -8, 12, -40))
	_, err = vgimg.PngCanvas{Canvas: c}.WriteTo(w)
	return err
}

// WriteSVG writes a plot of that many points for a page: without background, title and
// legend, in the page's colours.
func (r *Report) WriteSVG(w io.Writer, name string, width, height int) error {
	p, _, err := r.figure(name)
	if err != nil {
		return err
	}
	p.Legend = plot.NewLegend()
	c := vgsvg.New(vg.Length(width), vg.Length(height))
	p.Draw(draw.Crop(draw.New(c), 2, -10, 2, -6))
	var b bytes.Buffer
	if _, err := c.WriteTo(&b); err != nil {
		return err
	}
	_, err = io.WriteString(w, forPage(b.String(), width, height))
	return err
}

var (
	fontFamily = regexp.MustCompile(`font-family:[^;"]*;`)
	svgTag     = regexp.MustCompile(`(?s)^.*?<svg[^>]*>`)
)

// forPage makes of a picture a part of a page: no prolog, no size of its own, and
// the page's variables in place of colours. The fonts are those with whose metrics it was
// laid out.
func forPage(svg string, width, height int) string {
	svg = svgTag.ReplaceAllString(svg, fmt.Sprintf(`<svg viewBox="0 0 %d %d" role="img">`, width, height))
	svg = fontFamily.ReplaceAllString(svg, "font-family:Arial,Liberation Sans,Helvetica,sans-serif;")
	names := []string{hex(ink), "var(--ink)", hex(faint), "var(--grid)"}
	for i, c := range palette {
		names = append(names, hex(c), fmt.Sprintf("var(--c%d)", i))
	}
	return strings.NewReplacer(names...).Replace(svg)
}

func hex(c color.NRGBA) string { return fmt.Sprintf("#%02X%02X%02X", c.R, c.G, c.B) }
