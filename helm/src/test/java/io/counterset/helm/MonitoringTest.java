// SPDX-License-Identifier: Apache-2.0
package io.counterset.helm;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;

/**
 * The alerts and the dashboard query metrics that the service exports, and every alert has a
 * runbook.
 */
class MonitoringTest {

    private static final Path RUNBOOKS = Path.of("..", "docs", "runbooks");

    private static final Pattern METRIC = Pattern.compile("\\b(counterset_[a-z_]+)\\b(?!\")");

    /** A row of the table of metrics, with one or two names in its first column. */
    private static final Pattern DOCUMENTED =
            Pattern.compile("(?m)^\\| `(counterset_[a-z_]+)(?:\\{[a-z,]+})?`.* \\| (counter|gauge|histogram) \\|");

    private static final JsonNode RULES = Chart.render("app-python", "prometheusRule: {enabled: true}")
            .at("PrometheusRule", "app-python", "/spec/groups/0/rules");

    /** Checked against the documentation; MonitoringIT checks against a running service. */
    @Test
    void alertsAndDashboardUseTheServicesMetrics() throws IOException {
        List<String> expressions = new ArrayList<>(RULES.findValuesAsText("expr"));
        expressions.addAll(Chart.read("files/dashboard.json").findValuesAsText("expr"));
        expressions.addAll(Chart.read("files/dashboard.json").findValuesAsText("definition"));

        Set<String> used = new TreeSet<>();
        for (String expression : expressions) {
            Matcher metric = METRIC.matcher(expression);
            while (metric.find()) {
                used.add(metric.group(1));
            }
        }

        Set<String> documented = new TreeSet<>();
        Matcher row = DOCUMENTED.matcher(Files.readString(Path.of("..", "docs", "operations.md")));
        while (row.find()) {
            documented.add(row.group(2).equals("histogram") ? row.group(1) + "_bucket" : row.group(1));
        }
        assertThat(used).contains("counterset_commit_seconds_bucket", "counterset_peers_state");
        assertThat(documented).containsAll(used);
    }

    @Test
    void panelsOfTheDashboardDoNotOverlap() {
        Set<String> ids = new TreeSet<>();
        Set<String> cells = new TreeSet<>();
        int area = 0;
        for (JsonNode panel : Chart.read("files/dashboard.json").path("panels")) {
            assertThat(ids.add(panel.path("id").asText())).as("id of %s", panel).isTrue();
            JsonNode grid = panel.path("gridPos");
            int x = grid.path("x").asInt();
            int y = grid.path("y").asInt();
            int width = grid.path("w").asInt();
            int height = grid.path("h").asInt();
            assertThat(x + width).isLessThanOrEqualTo(24);
            for (int i = 0; i < width * height; i++) {
                cells.add((x + i % width) + "," + (y + i / width));
            }
            area += width * height;
        }
        assertThat(area).isPositive();
        assertThat(cells).hasSize(area);
    }

    @Test
    void alertsSelectOnlyThisRelease() {
        for (JsonNode rule : RULES) {
            String expression = rule.path("expr").asText();
            assertThat(expression).contains("namespace=\"demo\"");
            if (Set.of("CounterVolumeFillingUp", "CounterVolumeTooFullToStart")
                    .contains(rule.path("alert").asText())) {
                assertThat(expression).contains("persistentvolumeclaim=~\"data-app-python-[0-9]+\"");
            } else {
                assertThat(expression).contains("job=\"app-python-headless\"");
            }
        }
    }

    @Test
    void everyAlertHasADescription() {
        for (JsonNode rule : RULES) {
            assertThat(rule.at("/annotations/summary").asText()).isNotBlank().doesNotContain("%!");
            assertThat(rule.at("/annotations/description").asText())
                    .isNotBlank()
                    .doesNotContain("%!");
            assertThat(rule.at("/labels/severity").asText()).isIn("critical", "warning");
            assertThat(rule.path("for").asText()).isNotBlank();
        }
    }

    @Test
    void everyAlertHasARunbookAndEveryRunbookAnAlert() throws IOException {
        List<String> alerts = RULES.findValuesAsText("alert");
        try (var pages = Files.list(RUNBOOKS)) {
            assertThat(pages.map(p -> p.getFileName().toString().replace(".md", "")))
                    .containsExactlyInAnyOrderElementsOf(alerts);
        }
        String readme = Files.readString(Chart.DIRECTORY.resolve("README.md"));
        for (String alert : alerts) {
            assertThat(Files.readString(RUNBOOKS.resolve(alert + ".md")))
                    .startsWith("# " + alert + "\n")
                    .contains("**Meaning.**", "**Impact.**", "**Look.**", "**Act.**");
            assertThat(readme).contains("| " + alert + " |");
        }
    }

    @Test
    void everyAlertOfTheValuesExists() {
        List<String> alerts = new ArrayList<>();
        Chart.read("values.yaml").at("/prometheusRule/alerts").fieldNames().forEachRemaining(alerts::add);

        assertThat(RULES.findValuesAsText("alert")).containsExactlyInAnyOrderElementsOf(alerts);
    }
}
