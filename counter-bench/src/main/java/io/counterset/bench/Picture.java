// SPDX-License-Identifier: Apache-2.0
package io.counterset.bench;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;

/** A bar chart as SVG, the largest value first. It adapts to a dark page and needs no script. */
final class Picture {

    private static final int WIDTH = 720;
    private static final int LABELS = 250;
    private static final int LONGEST_BAR = WIDTH - LABELS - 90;
    private static final int ROW = 26;
    private static final int TOP = 64;

    private record Bar(String label, double value) {}

    private final String title;
    private final String subtitle;
    private final String highlighted;
    private final List<Bar> bars = new ArrayList<>();

    /**
     * @param highlighted the prefix of the labels whose bars stand out
     */
    Picture(String title, String subtitle, String highlighted) {
        this.title = title;
        this.subtitle = subtitle;
        this.highlighted = highlighted;
    }

    void add(String label, double value) {
        bars.add(new Bar(label, value));
    }

    @Override
    public String toString() {
        List<Bar> sorted = bars.stream()
                .sorted(Comparator.comparingDouble(Bar::value).reversed())
                .toList();
        double largest = sorted.isEmpty() ? 1 : sorted.get(0).value();
        int height = TOP + sorted.size() * ROW + 10;
        StringBuilder svg = new StringBuilder(String.format(
                Locale.ROOT, """
                <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-labelledby="title">
                  <title id="title">%s</title>
                  <style>
                    text { font: 14px system-ui, sans-serif; fill: #1f2328; }
                    .title { font-size: 17px; font-weight: 600; }
                    .quiet { fill: #59636e; }
                    rect { fill: #9aa6b2; }
                    rect.ours { fill: #1a7f5a; }
                    @media (prefers-color-scheme: dark) {
                      text { fill: #f0f6fc; }
                      .quiet { fill: #9198a1; }
                      rect { fill: #59636e; }
                      rect.ours { fill: #3fb68b; }
                    }
                  </style>
                  <text class="title" x="0" y="20">%s</text>
                  <text class="quiet" x="0" y="44">%s</text>
                """, WIDTH, height, WIDTH, height, escaped(title), escaped(title), escaped(subtitle)));
        int y = TOP;
        for (Bar bar : sorted) {
            double length = Math.max(1, bar.value() / largest * LONGEST_BAR);
            svg.append(String.format(
                    Locale.ROOT,
                    """
                  <text x="%d" y="%d" text-anchor="end">%s</text>
                  <rect%s x="%d" y="%d" width="%.0f" height="%d" rx="2"/>
                  <text class="quiet" x="%.0f" y="%d">%,.0f</text>
                """,
                    LABELS - 8,
                    y + 16,
                    escaped(bar.label()),
                    bar.label().startsWith(highlighted) ? " class=\"ours\"" : "",
                    LABELS,
                    y + 3,
                    length,
                    ROW - 8,
                    LABELS + length + 6,
                    y + 16,
                    bar.value()));
            y += ROW;
        }
        return svg.append("</svg>\n").toString();
    }

    private static String escaped(String text) {
        return text.replace("&", "&amp;").replace("<", "&lt;");
    }
}
