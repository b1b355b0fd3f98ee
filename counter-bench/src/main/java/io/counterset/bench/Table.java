// SPDX-License-Identifier: Apache-2.0
package io.counterset.bench;

import java.util.ArrayList;
import java.util.List;

/** A Markdown table with the first column aligned left and the others right. */
final class Table {

    private final StringBuilder text = new StringBuilder();

    Table(String... heads) {
        row(heads);
        List<String> rules = new ArrayList<>();
        for (int i = 0; i < heads.length; i++) {
            rules.add(i == 0 ? "---" : "---:");
        }
        row(rules.toArray(String[]::new));
    }

    Table row(String... cells) {
        text.append("| ").append(String.join(" | ", cells)).append(" |\n");
        return this;
    }

    @Override
    public String toString() {
        return text.toString();
    }
}
