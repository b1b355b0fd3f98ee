// SPDX-License-Identifier: Apache-2.0
package io.counterset.helm;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;

/**
 * The chart's README matches the comments in values.yaml. {@code -Dreadme.write} rewrites its
 * table.
 */
class ReadmeTest {

    private static final Path README = Chart.DIRECTORY.resolve("README.md");
    private static final String BEGIN = "<!-- values -->\n";
    private static final String END = "<!-- /values -->\n";
    private static final Pattern KEY = Pattern.compile("( *)([A-Za-z]+):.*");

    @Test
    void theTableOfValuesMatchesTheirComments() throws IOException {
        String readme = Files.readString(README);
        int begin = readme.indexOf(BEGIN) + BEGIN.length();
        int end = readme.indexOf(END);
        if (System.getProperty("readme.write") != null) {
            readme = readme.substring(0, begin) + table() + readme.substring(end);
            Files.writeString(README, readme);
            end = readme.indexOf(END);
        }

        assertThat(readme.substring(begin, end)).isEqualTo(table());
    }

    @Test
    void everyValueIsDescribed() throws IOException {
        List<String> undescribed = new ArrayList<>();
        collectUndescribed("", Chart.read("values.yaml"), descriptions(), undescribed);

        assertThat(undescribed).isEmpty();
    }

    /**
     * In the last column of the comparison with other charts, `.x` is a sibling of the value before
     * it.
     */
    @Test
    void theComparisonNamesValuesThatExist() throws IOException {
        JsonNode values = Chart.read("values.yaml");
        List<String> missing = new ArrayList<>();
        int found = 0;
        for (String line : Files.readAllLines(Path.of("..", "docs", "chart.md"))) {
            String[] cells = line.split("\\|", -1);
            if (cells.length != 12) {
                continue;
            }
            String previous = "";
            for (Matcher code = Pattern.compile("`([A-Za-z.]+)`").matcher(cells[10]); code.find(); found++) {
                String name = code.group(1);
                if (name.startsWith(".")) {
                    name = previous.substring(0, previous.lastIndexOf('.')) + name;
                }
                previous = name;
                if (!name.startsWith("global.") && !name.startsWith("extraPodSpec.")) {
                    if (values.at("/" + name.replace('.', '/')).isMissingNode()) {
                        missing.add(name);
                    }
                }
            }
        }
        assertThat(found).isGreaterThan(80);
        assertThat(missing).isEmpty();
    }

    /** What at least two other charts have, this one has too, or its README gives the reason. */
    @Test
    void theReadmeExplainsEveryFeatureThatTheComparisonLeavesOut() throws IOException {
        String readme = Files.readString(README);
        int begin = readme.indexOf("\n## What it leaves out\n");
        String reasons = readme.substring(begin, readme.indexOf("\n## ", begin + 1));
        List<String> leftOut = new ArrayList<>();
        for (String line : Files.readAllLines(Path.of("..", "docs", "chart.md"))) {
            String[] cells = line.split("\\|", -1);
            if (cells.length != 12) {
                continue;
            }
            String own = cells[10].strip();
            long others = Arrays.stream(cells, 2, 10)
                    .filter(cell -> cell.contains("✓") || cell.contains("+"))
                    .count();
            assertThat(own.isEmpty() && others >= 2).as("a gap: %s", line).isFalse();
            if (own.equals("left out")) {
                leftOut.add(cells[1].strip());
            }
        }

        assertThat(leftOut)
                .hasSizeGreaterThan(10)
                .allSatisfy(feature -> assertThat(reasons).contains("\n| " + feature + " | "));
    }

    private static void collectUndescribed(
            String path, JsonNode value, Map<String, String> descriptions, List<String> undescribed) {
        if (descriptions.containsKey(path)) {
            return;
        }
        if (!value.isObject() || value.isEmpty()) {
            undescribed.add(path);
            return;
        }
        value.properties()
                .forEach(e -> collectUndescribed(
                        path.isEmpty() ? e.getKey() : path + "." + e.getKey(),
                        e.getValue(),
                        descriptions,
                        undescribed));
    }

    private static String table() throws IOException {
        JsonNode values = Chart.read("values.yaml");
        StringBuilder table = new StringBuilder("| value | default | what it is |\n|---|---|---|\n");
        descriptions()
                .forEach((path, description) -> table.append("| `")
                        .append(path)
                        .append("` | `")
                        .append(values.at("/" + path.replace('.', '/'))
                                .toString()
                                .replace("|", "\\|"))
                        .append("` | ")
                        .append(description.replace("|", "\\|"))
                        .append(" |\n"));
        return table.toString();
    }

    /**
     * Returns the comments that begin with {@code # --}, by the path of the value below them, in
     * the order of the file.
     */
    private static Map<String, String> descriptions() throws IOException {
        Map<String, String> descriptions = new LinkedHashMap<>();
        List<String> path = new ArrayList<>();
        StringBuilder comment = new StringBuilder();
        for (String line : Files.readAllLines(Chart.DIRECTORY.resolve("values.yaml"))) {
            String text = line.strip();
            if (text.startsWith("# -- ")) {
                comment.append(text.substring("# -- ".length()));
                continue;
            }
            if (text.startsWith("#") && !comment.isEmpty()) {
                comment.append(' ').append(text.substring(1).strip());
                continue;
            }
            Matcher key = KEY.matcher(line);
            if (key.matches()) {
                int depth = key.group(1).length() / 2;
                if (depth > path.size()) {
                    continue; // inside a list
                }
                path.subList(depth, path.size()).clear();
                path.add(key.group(2));
                if (!comment.isEmpty()) {
                    descriptions.put(String.join(".", path), comment.toString());
                }
            }
            comment.setLength(0);
        }
        return descriptions;
    }
}
