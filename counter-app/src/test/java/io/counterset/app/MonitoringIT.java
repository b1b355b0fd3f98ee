package io.counterset.app;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * A running service exports every series, with the labels, that the chart's alerts and dashboard
 * query.
 */
class MonitoringIT {

    private static final Path CHART = Path.of("..", "helm", "counter");

    /** A metric and its label matchers, if any. */
    private static final Pattern SELECTOR = Pattern.compile("\\b(counterset_[a-z_]+)(?:\\{([^{}]*)})?");

    /** A matcher of a label that the service itself sets; Prometheus adds the others. */
    private static final Pattern MATCHER = Pattern.compile("\\b(state|type|counter|le)=~?\"([^\"$]+)\"");

    @Test
    void exportsEverySeriesOfAlertsAndDashboard(@TempDir Path folder) throws IOException {
        List<String> wanted = new ArrayList<>();
        for (String file : List.of("templates/prometheusrule.yaml", "files/dashboard.json")) {
            String text = Files.readString(CHART.resolve(file)).replace("\\", "");
            for (Matcher selector = SELECTOR.matcher(text); selector.find(); ) {
                String labels = selector.group(2) == null ? "" : selector.group(2);
                Matcher label = MATCHER.matcher(labels);
                if (!label.find()) {
                    wanted.add(selector.group(1));
                    continue;
                }
                for (String value : label.group(2).split("\\|", -1)) {
                    wanted.add(selector.group(1) + "{" + label.group(1) + "=\"" + value + "\"}");
                }
            }
        }
        wanted.remove("counterset_certificate_expires_seconds"); // only with TLS
        assertThat(wanted)
                .contains(
                        "counterset_store_accepting",
                        "counterset_peers_state{state=\"rolled-back\"}",
                        "counterset_refusals_total{type=\"store-full\"}",
                        "counterset_commit_seconds_bucket");

        try (ServiceProcess service = ServiceProcess.start(folder, Map.of())) {
            service.send("POST", "/count");
            String metrics = service.send("GET", "/prometheus").body();

            assertThat(wanted)
                    .allSatisfy(series -> assertThat(metrics)
                            .containsPattern("(?m)^" + Pattern.quote(series) + (series.endsWith("}") ? " " : "[{ ]")));
        }
    }
}
