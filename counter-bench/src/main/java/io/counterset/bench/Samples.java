// SPDX-License-Identifier: Apache-2.0
package io.counterset.bench;

import java.util.ArrayList;
import java.util.List;
import java.util.stream.IntStream;

/**
 * One figure as measured in each round. Two figures are compared round by round, because each round
 * measured both of them one soon after the other.
 */
final class Samples {

    private final List<Double> values = new ArrayList<>();

    void add(double value) {
        values.add(value);
    }

    double median() {
        return median(values);
    }

    /** Returns the median over all rounds of the ratio of this figure to the other. */
    double ratioTo(Samples other) {
        return median(IntStream.range(0, Math.min(values.size(), other.values.size()))
                .mapToObj(round -> values.get(round) / other.values.get(round))
                .toList());
    }

    private static double median(List<Double> values) {
        List<Double> sorted = values.stream().sorted().toList();
        int middle = sorted.size() / 2;
        return sorted.size() % 2 == 1 ? sorted.get(middle) : (sorted.get(middle - 1) + sorted.get(middle)) / 2;
    }
}
