// SPDX-License-Identifier: Apache-2.0
package io.counterset.helm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.File;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.api.io.TempDir;

/**
 * Prometheus' own tool evaluates the alerts on simulated series: each cause that a runbook names
 * fires its alert, and normal operation fires none. Skipped if {@code promtool} is not installed.
 */
class AlertsTest {

    private static final String RELEASE = "app-python";
    private static final String OTHER = "web";
    private static final String ENABLED = "prometheusRule: {enabled: true}";

    /** The files with the rules of each release. */
    private static final Map<String, String> RULES = new ConcurrentHashMap<>();

    @TempDir
    @SuppressWarnings("NullAway.Init")
    private static Path directory;

    /**
     * The scraped series, each with a value every 30 s for an hour, and the alerts that fire at the
     * end, each as alert and StatefulSet.
     */
    private record Scenario(String name, Map<String, String> series, List<String> firing) {}

    /** A release with three healthy replicas. */
    private static Map<String, String> healthy(String release) {
        Map<String, String> series = new TreeMap<>();
        for (int ordinal = 0; ordinal < 3; ordinal++) {
            replica(series, release, ordinal, "1x120");
            volume(series, "data-" + release + "-" + ordinal, "9e8x120");
        }
        return series;
    }

    private static String labels(String release, int ordinal) {
        return "namespace=\"demo\", job=\"%1$s-headless\", pod=\"%1$s-%2$d\", instance=\"10.0.0.%2$d:8080\""
                .formatted(release, ordinal);
    }

    private static void replica(Map<String, String> series, String release, int ordinal, String up) {
        String labels = labels(release, ordinal);
        series.put("up{" + labels + "}", up);
        series.put("counterset_store_accepting{" + labels + "}", "1x120");
        series.put("counterset_peers_expected{" + labels + "}", "3x120");
        series.put("counterset_peers_complete{" + labels + "}", "1x120");
        series.put("counterset_peers_source_state{" + labels + ", state=\"live\"}", "1x120");
        series.put("counterset_peers_source_state{" + labels + ", state=\"stale\"}", "0x120");
        series.put("counterset_peers_state{" + labels + ", state=\"rolled-back\"}", "0x120");
        series.put("counterset_peers_state{" + labels + ", state=\"replaced\"}", "0x120");
        series.put("counterset_journal_bytes{" + labels + "}", "8388608x120");
        series.put("counterset_certificate_expires_seconds{" + labels + "}", "864000x120"); // ten days after 1970
        series.put("counterset_commit_under_way_seconds{" + labels + "}", "0x120");
        series.put("counterset_peers_lost{" + labels + "}", "0x120");
        series.put("counterset_refusals_total{" + labels + ", type=\"bad-amount\"}", "0+9x120");
        series.put("counterset_refusals_total{" + labels + ", type=\"busy\"}", "0x120");
        series.put("counterset_refusals_total{" + labels + ", type=\"too-many-counters\"}", "0x120");
        series.put("counterset_refusals_total{" + labels + ", type=\"store-full\"}", "0x120");
        series.put("counterset_idempotency_early_evictions_total{" + labels + "}", "3x120");
        series.put("counterset_commit_seconds_bucket{" + labels + ", le=\"0.001024\"}", "0+100x120");
        series.put("counterset_commit_seconds_bucket{" + labels + ", le=\"0.524288\"}", "0+100x120");
        series.put("counterset_commit_seconds_bucket{" + labels + ", le=\"+Inf\"}", "0+100x120");
    }

    private static void volume(Map<String, String> series, String claim, String available) {
        String labels = "namespace=\"demo\", persistentvolumeclaim=\"" + claim + "\", node=\"n\"";
        series.put("kubelet_volume_stats_available_bytes{" + labels + "}", available);
        series.put("kubelet_volume_stats_capacity_bytes{" + labels + "}", "1e9x120");
    }

    /**
     * The healthy release with some series changed; null removes a series. A key is a metric, or a
     * metric and an ordinal.
     */
    private static Map<String, String> with(Object... changes) {
        Map<String, String> series = healthy(RELEASE);
        for (int i = 0; i < changes.length; i += 2) {
            String[] key = ((String) changes[i]).split(" ", -1);
            Object value = changes[i + 1];
            List<String> changed = series.keySet().stream()
                    .filter(s -> s.contains(key[0]))
                    .filter(s -> key.length == 1 || s.contains("-" + key[1] + "\""))
                    .toList();
            assertThat(changed).as("%s", (Object) key).isNotEmpty();
            changed.forEach(s -> series.put(s, value.toString()));
        }
        return series;
    }

    private static Map<String, String> without(Map<String, String> series, String part) {
        series.keySet().removeIf(s -> s.contains(part));
        return series;
    }

    private static List<String> fires(String... alerts) {
        return Arrays.stream(alerts).map(a -> a + " " + RELEASE).toList();
    }

    private static List<Scenario> scenarios() {
        List<Scenario> scenarios = new ArrayList<>(List.of(
                new Scenario("all is well", healthy(RELEASE), fires()),
                new Scenario(
                        "a rolling update: each replica is away for a minute",
                        with("up{ 0", "1x80 0x1 1x40", "up{ 1", "1x85 0x1 1x35", "up{ 2", "1x90 0x1 1x30"),
                        fires()),
                new Scenario(
                        "the store has stopped after a failed write",
                        with("accepting 1", "0x120"),
                        fires("CounterStoreNotAccepting")),
                new Scenario(
                        "a replica hangs, or is not admitted to Prometheus",
                        with("up{ 1", "0x120"),
                        fires("CounterReplicaDown")),
                new Scenario(
                        "a replica crashes again and again, and answers now and then",
                        with("up{ 1", "1x59 " + "0x8 1x0 ".repeat(7).strip()),
                        fires("CounterReplicaDown")),
                new Scenario(
                        "a pod is pending: no node fits, or its volume cannot be attached",
                        without(with("complete", "0x120"), RELEASE + "-2\", instance"),
                        fires("CounterReplicaMissing", "CounterPeersIncomplete")),
                new Scenario(
                        "all replicas are down",
                        with("up{", "0x120"),
                        fires("CounterReplicaDown", "CounterAllReplicasDown")),
                new Scenario(
                        "all pods are pending, or Prometheus no longer finds them",
                        without(healthy(RELEASE), "pod="),
                        fires("CounterAllReplicasDown")),
                new Scenario(
                        "one replica cannot reach another",
                        with("complete 0", "0x120"),
                        fires("CounterPeersIncomplete")),
                new Scenario(
                        "the API server is gone",
                        with("complete", "0x120", "\"live\"", "0x120", "\"stale\"", "1x120"),
                        fires("CounterPeerListStale")),
                new Scenario(
                        "one replica may not ask the API server, and another one does not answer the others",
                        with("complete", "0x120", "\"live\" 1", "0x120"),
                        fires("CounterPeersIncomplete", "CounterPeerListStale")),
                new Scenario(
                        "no report yet: the figures are not numbers",
                        with(
                                "expected",
                                "NaN ".repeat(121).strip(),
                                "complete",
                                "NaN ".repeat(121).strip(),
                                "\"live\"",
                                "NaN ".repeat(121).strip()),
                        fires()),
                new Scenario("a volume went back", with("rolled-back 0", "1x120"), fires("CounterRolledBack")),
                new Scenario("an empty volume was replaced", with("\"replaced\" 2", "1x120"), fires("CounterReplaced")),
                new Scenario(
                        "a volume that had counted was replaced",
                        with("\"replaced\" 2", "1x120", "peers_lost 0", "42x120"),
                        fires("CounterReplaced", "CounterCountsLost")),
                new Scenario(
                        "the disk is slow",
                        with("le=\"0.001024\" 1", "0x120", "le=\"0.524288\" 1", "0+50x120"),
                        fires("CounterCommitsSlow")),
                new Scenario(
                        "the disk does not answer", with("under_way 1", "0x110 0+30x9"), fires("CounterCommitStuck")),
                new Scenario("each scrape meets a commit of a slow disk", with("under_way 1", "29x120"), fires()),
                new Scenario(
                        "a full volume refuses keys", with("store-full 1", "0x100 1+1x20"), fires("CounterVolumeFull")),
                new Scenario(
                        "more callers than the disk takes", with("busy 0", "0x80 1+50x40"), fires("CounterRefusing")),
                new Scenario(
                        "clients create one counter after the other",
                        with("too-many 2", "0x80 1+1x40"),
                        fires("CounterRefusing")),
                new Scenario(
                        "a single refusal some minutes ago",
                        with("busy 0", "0x100 1x20", "too-many 1", "0x100 1x20"),
                        fires()),
                new Scenario(
                        "more keys than are remembered",
                        with("evictions 1", "3x110 4+9x10"),
                        fires("CounterKeysEvicted")),
                new Scenario(
                        "a certificate is not renewed",
                        with("certificate 0", "500000x120"),
                        fires("CounterCertificateExpiring")),
                new Scenario("a volume fills up", with("available 0", "5e7x120"), fires("CounterVolumeFillingUp")),
                new Scenario(
                        "a volume has less room than the journal takes",
                        with("available 2", "8388607x120"),
                        fires("CounterVolumeFillingUp", "CounterVolumeTooFullToStart")),
                new Scenario(
                        "the journal has outgrown what is free of a large volume",
                        with("journal 0", "9.1e8x120"),
                        fires("CounterVolumeTooFullToStart"))));
        Map<String, String> both = healthy(RELEASE);
        both.putAll(healthy(OTHER));
        both.put("counterset_store_accepting{" + labels(OTHER, 0) + "}", "0x120");
        both.put("counterset_peers_state{" + labels(OTHER, 0) + ", state=\"replaced\"}", "1x120");
        both.put("counterset_peers_state{" + labels(RELEASE, 0) + ", state=\"replaced\"}", "1x120");
        scenarios.add(new Scenario(
                "two releases in one namespace",
                both,
                List.of(
                        "CounterReplaced " + RELEASE,
                        "CounterReplaced " + OTHER,
                        "CounterStoreNotAccepting " + OTHER)));
        return scenarios;
    }

    @TestFactory
    Stream<DynamicTest> everyCauseFiresItsAlert() {
        return scenarios().stream().map(s -> DynamicTest.dynamicTest(s.name, () -> check(s)));
    }

    private static void check(Scenario scenario) throws IOException, InterruptedException {
        String name = scenario.name.replaceAll("[^a-z]+", "-");
        List<String> releases = scenario.name.startsWith("two") ? List.of(RELEASE, OTHER) : List.of(RELEASE);
        ObjectNode file = Chart.YAML.createObjectNode();
        ArrayNode rules = file.putArray("rule_files");
        releases.forEach(release -> rules.add(RULES.computeIfAbsent(release, r -> rules(r, ENABLED))));
        file.put("evaluation_interval", "30s");
        ObjectNode test = file.putArray("tests").addObject().put("interval", "30s");
        ArrayNode input = test.putArray("input_series");
        scenario.series.forEach(
                (series, values) -> input.addObject().put("series", series).put("values", values));
        ObjectNode expected = test.putArray("promql_expr_test")
                .addObject()
                .put("expr", "count by (alertname, statefulset) (ALERTS{alertstate=\"firing\"}) > bool 0")
                .put("eval_time", "60m");
        ArrayNode samples = expected.putArray("exp_samples");
        for (String firing : scenario.firing) {
            String[] alert = firing.split(" ", -1);
            samples.addObject()
                    .put("labels", "{alertname=\"%s\", statefulset=\"%s\"}".formatted(alert[0], alert[1]))
                    .put("value", 1);
        }
        Path path = directory.resolve(name + ".yaml");
        Chart.YAML.writeValue(path.toFile(), file);

        promtool("test", "rules", path.toString());
    }

    /** Every alert of the chart fires in at least one scenario. */
    @Test
    void everyAlertHasAScenario() {
        JsonNode rules = Chart.render(RELEASE, ENABLED).at("PrometheusRule", RELEASE, "/spec/groups/0/rules");

        assertThat(scenarios().stream()
                        .flatMap(s -> s.firing.stream())
                        .map(f -> f.split(" ", -1)[0])
                        .collect(Collectors.toSet()))
                .containsExactlyInAnyOrderElementsOf(rules.findValuesAsText("alert"));
    }

    @Test
    void theRulesAreValidForAllValues() throws IOException, InterruptedException {
        promtool("check", "rules", rules(RELEASE, """
                replicaCount: 1
                persistence: {existingClaim: mine}
                prometheusRule:
                  enabled: true
                  runbookUrl: https://example.com
                  alertLabels: {team: payments}
                  additionalRules: [{alert: Mine, expr: vector(1) > 0, labels: {severity: none}}]
                """));
        promtool(
                "check",
                "rules",
                rules("y", "prometheusRule: {enabled: true, alerts: {CounterReplicaDown: {for: null}}}"));
    }

    /** Writes the rules of a release with these values, and returns the file's name. */
    private static String rules(String release, String values) {
        JsonNode spec =
                Chart.render(release, values).of("PrometheusRule").get(0).path("spec");
        try {
            File file = File.createTempFile("rules-" + release, ".yaml", directory.toFile());
            Chart.YAML.writeValue(file, spec);
            return file.toString();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static void promtool(String... arguments) throws IOException, InterruptedException {
        List<String> command = new ArrayList<>(List.of("promtool"));
        command.addAll(List.of(arguments));
        Process process;
        try {
            process = new ProcessBuilder(command).redirectErrorStream(true).start();
        } catch (IOException e) {
            assumeTrue(false, "promtool is not installed: the alerts are not tested");
            return;
        }
        String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertThat(process.waitFor(30, TimeUnit.SECONDS)).isTrue();
        assertThat(process.exitValue()).as(output).isZero();
    }
}
