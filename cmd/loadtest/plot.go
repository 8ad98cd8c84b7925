package main

import (
	"errors"
	"fmt"
	"image/color"
	"io"
	"os"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// The colours tell the sides apart also without colours: one is darker.
var (
	knxfleetColour = color.RGBA{R: 0x1b, G: 0x6c, B: 0xa8, A: 0xff}
	otherColour    = color.RGBA{R: 0xc4, G: 0xc8, B: 0xcc, A: 0xff}
)

// plotAll writes a plot of each figure into a folder, NAME.svg.
func plotAll(dir string, rows []row) error {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // figures are no secret
		return err
	}
	for _, r := range rows {
		f, err := os.Create(filepath.Join(dir, r.Name+".svg"))
		if err != nil {
			return err
		}
		if err := errors.Join(plotRow(f, r), f.Close()); err != nil {
			return fmt.Errorf("plot %s: %w", r.Name, err)
		}
	}
	return nil
}

// plotRow draws two bars for each run, with the median in the title.
func plotRow(w io.Writer, r row) error {
	const width, height, bar = 14 * vg.Centimeter, 9 * vg.Centimeter, 8 * vg.Millimeter
	p := plot.New()
	p.Title.Text = fmt.Sprintf("%s: %s to %s, ratio %s", r.Name, short(r.Knxfleet), short(r.Naive), short(r.Ratio))
	p.Y.Label.Text = r.Unit
	p.Y.Min = 0
	p.Legend.Top = true
	var labels []string
	values := [2]plotter.Values{}
	for i, run := range r.Runs {
		values[0] = append(values[0], run.Knxfleet)
		values[1] = append(values[1], run.Naive)
		labels = append(labels, fmt.Sprintf("run %d", i+1))
	}
	for i, side := range []struct {
		name   string
		colour color.Color
	}{{"knxfleet", knxfleetColour}, {r.Against, otherColour}} {
		bars, err := plotter.NewBarChart(values[i], bar)
		if err != nil {
			return err
		}
		bars.Color = side.colour
		bars.LineStyle.Width = 0
		bars.Offset = bar * vg.Length(2*i-1) / 2
		p.Add(bars)
		p.Legend.Add(side.name, bars)
	}
	p.NominalX(labels...)
	p.X.Min, p.X.Max = -0.6, float64(len(labels))-0.4
	p.Y.Max *= 1.25 // room for the legend
	out, err := p.WriterTo(width, height, "svg")
	if err != nil {
		return err
	}
	_, err = out.WriteTo(w)
	return err
}
