// SPDX-License-Identifier: Apache-2.0
package io.counterset.bench;

import java.util.Locale;

/**
 * The targets of counter-core, each with its measurement and what it was compared with in this run.
 */
final class Targets {

    private final Table table = new Table("work", "compared with", "target", "measured", "");

    void atLeast(String work, String rival, double target, double measured, String format) {
        row(work, rival, "≥ ", target, measured, format, measured >= target);
    }

    void atMost(String work, String rival, double target, double measured, String format) {
        row(work, rival, "≤ ", target, measured, format, measured <= target);
    }

    void notMeasured(String work, String why) {
        table.row(work, "–", "–", "–", why);
    }

    private void row(
            String work, String rival, String relation, double target, double measured, String format, boolean met) {
        table.row(
                work,
                rival,
                relation + String.format(Locale.ROOT, format, target),
                String.format(Locale.ROOT, format, measured),
                met ? "met" : "**missed**");
    }

    @Override
    public String toString() {
        return table.toString();
    }
}
