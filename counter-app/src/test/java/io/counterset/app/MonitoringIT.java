// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.marcnuri.helm.Helm;
import io.netty.pkitesting.CertificateBuilder;
import io.netty.pkitesting.X509Bundle;
import java.io.IOException;
import java.math.BigDecimal;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.function.Predicate;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.DoubleStream;
import java.util.stream.Stream;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.CleanupMode;
import org.junit.jupiter.api.io.TempDir;

/**
 * Running services export every series that the chart's alerts and dashboard query, and each fault
 * of a running service fires its alert, as Prometheus' own tool evaluates them. How long a fault
 * must last is tested with the chart; here every alert fires at once.
 */
class MonitoringIT {

    private static final Path CHART = Path.of("..", "helm", "counter");
    private static final String RELEASE = "app-python";

    /** A metric and its label matchers, if any. */
    private static final Pattern SELECTOR = Pattern.compile("\\b(counterset_[a-z_]+)(?:\\{([^{}]*)})?");

    /** A matcher of a label that the service itself sets; Prometheus adds the others. */
    private static final Pattern MATCHER = Pattern.compile("\\b(state|type|counter|le)=~?\"([^\"$]+)\"");

    private static final Pattern ALERT = Pattern.compile("- alert: (\\w+)");
    private static final Pattern SAMPLE = Pattern.compile("(?m)^(counterset_\\w+)(?:\\{(.*)})? (\\S+)$");

    /** A commit that has waited for more than a second. */
    private static final Pattern STUCK = Pattern.compile("(?m)^counterset_commit_under_way_seconds [1-9]");

    private static final HttpClient CLIENT = HttpClient.newHttpClient();

    @TempDir(cleanup = CleanupMode.ON_SUCCESS)
    private Path folder;

    private final List<ServiceProcess> started = new ArrayList<>();
    private final Set<String> tried = new TreeSet<>();

    @AfterEach
    void endAll() {
        started.forEach(ServiceProcess::close);
    }

    private ServiceProcess start(String instance, Map<String, String> settings) {
        Map<String, String> environment = new HashMap<>(settings);
        environment.put("COUNTER_INSTANCE", instance);
        environment.putIfAbsent("COUNTER_DIRECTORY", instance);
        environment.put("COUNTER_PEERS_REFRESH", "1s");
        environment.put("COUNTER_PEERS_TIMEOUT", "20s"); // a busy machine is not a peer that is down
        environment.put("COUNTER_PEERS_DEADLINE", "30s");
        ServiceProcess process = ServiceProcess.start(folder, environment);
        started.add(process);
        return process;
    }

    /**
     * Starts a service with a certificate for three days, a management port and no API server, and
     * returns that port.
     */
    private int startWithCertificate() throws Exception {
        X509Bundle certificate = new CertificateBuilder()
                .subject("CN=replica")
                .setIsCertificateAuthority(true)
                .notAfter(Instant.now().plus(Duration.ofDays(3)))
                .addSanDnsName("localhost")
                .ecp256()
                .buildSelfSigned();
        Files.writeString(folder.resolve("tls.crt"), certificate.getCertificatePathPEM());
        Files.writeString(folder.resolve("tls.key"), certificate.getPrivateKeyPEM());
        int management = ServiceProcess.freePort();
        start(
                RELEASE + "-0",
                Map.of(
                        "COUNTER_TLS_CERTIFICATE",
                        "tls.crt",
                        "COUNTER_TLS_KEY",
                        "tls.key",
                        "COUNTER_TLS_AUTHORITY",
                        "tls.crt",
                        "COUNTER_TLS_PEER_NAME",
                        "localhost",
                        "COUNTER_PEERS_SOURCE",
                        "kubernetes",
                        "COUNTER_PEERS_SERVICE",
                        RELEASE + "-headless",
                        "COUNTER_MANAGEMENT_PORT",
                        Integer.toString(management)));
        return management;
    }

    @Test
    void exportsEverySeriesOfAlertsAndDashboard() throws Exception {
        List<String> wanted = new ArrayList<>();
        for (String text : List.of(rules(""), Files.readString(CHART.resolve("files/dashboard.json")))) {
            for (Matcher selector = SELECTOR.matcher(text.replace("\\", "")); selector.find(); ) {
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
        assertThat(wanted)
                .contains(
                        "counterset_store_accepting",
                        "counterset_certificate_expires_seconds",
                        "counterset_peers_state{state=\"rolled-back\"}",
                        "counterset_refusals_total{type=\"store-full\"}",
                        "counterset_commit_seconds_bucket");

        int port = startWithCertificate();
        // The figures about peers come a moment after the first answer.
        String metrics = Awaitility.await()
                .atMost(Duration.ofSeconds(60))
                .until(() -> scrape(port), answer -> answer.contains("\ncounterset_peers_failed_total "));

        assertThat(wanted)
                .allSatisfy(series -> assertThat(metrics)
                        .containsPattern("(?m)^" + Pattern.quote(series) + (series.endsWith("}") ? " " : "[{ ]")));
    }

    @Test
    void everyFaultFiresItsAlertAndTheRepairEndsIt() throws Exception {
        assumeTrue(SmallDisk.run("promtool", "--version"), "promtool is not installed: the alerts are not tried");
        Path disk = Files.createDirectory(folder.resolve("disk"));
        assumeTrue(SmallDisk.mount(disk), "this user may not mount: the alerts are not tried");
        try {
            tryAll(disk);
        } finally {
            endAll();
            SmallDisk.unmount(disk);
        }
        Path device = Files.createDirectory(folder.resolve("device"));
        assumeTrue(
                SmallDisk.mountDevice(folder.resolve("image"), device),
                "this user may not mount a device: the alert on a stuck disk is not tried");
        try {
            tryStuck(device);
        } finally {
            endAll();
            SmallDisk.unmount(device);
        }
        Matcher alert = ALERT.matcher(rules(""));
        assertThat(tried)
                .containsExactlyInAnyOrderElementsOf(
                        alert.results().map(result -> result.group(1)).toList());
    }

    private void tryAll(Path disk) throws Exception {
        int[] ports = {ServiceProcess.freePort(), ServiceProcess.freePort()};
        Map<String, String> settings = new HashMap<>(Map.of(
                "COUNTER_PEERS_ADDRESSES", "127.0.0.1:" + ports[0] + ",127.0.0.1:" + ports[1],
                "COUNTER_IDEMPOTENCY_MAX_KEYS", "1",
                "COUNTER_CREATE", "0"));
        settings.put("MICRONAUT_SERVER_PORT", Integer.toString(ports[0]));
        ServiceProcess first = start(RELEASE + "-0", settings);
        settings.put("MICRONAUT_SERVER_PORT", Integer.toString(ports[1]));
        settings.put("COUNTER_DIRECTORY", "disk/data");
        ServiceProcess second = start(RELEASE + "-1", settings);
        second.send("POST", "/count?by=5");
        Scraped well = await(ports, disk, "counterset_peers_complete", 1);
        fires(well, well, Set.of());

        first.send("POST", "/count", "Idempotency-Key", "one");
        first.send("POST", "/count", "Idempotency-Key", "two");
        first.send("POST", "/count/another");
        Scraped now = await(ports, disk, "counterset_peers_complete", 1);
        fires(well, now, Set.of("CounterKeysEvicted", "CounterRefusing"));
        fires(
                well,
                now,
                Set.of("CounterKeysEvicted", "CounterRefusing", "CounterCommitsSlow"),
                "CounterCommitsSlow: {seconds: 0.000001}"); // no disk is that fast

        second.kill();
        Path filler = disk.resolve("filler");
        SmallDisk.fill(filler);
        second = start(RELEASE + "-1", settings);
        second.send("POST", "/count");
        now = await(ports, disk, "counterset_peers_complete", 1);
        fires(
                well,
                now,
                Set.of(
                        "CounterKeysEvicted",
                        "CounterRefusing",
                        "CounterStoreNotAccepting",
                        "CounterVolumeFull",
                        "CounterVolumeFillingUp",
                        "CounterVolumeTooFullToStart"));
        Files.delete(filler);
        well = await(ports, disk, "counterset_store_accepting", 1);
        fires(well, well, Set.of());

        second.terminate();
        now = await(ports, disk, "counterset_peers_complete", 0);
        fires(well, now, Set.of("CounterReplicaDown", "CounterPeersIncomplete"));
        fires(well.without(1), now.without(1), Set.of("CounterReplicaMissing", "CounterPeersIncomplete"));
        delete(disk.resolve("data"));
        second = start(RELEASE + "-1", settings);
        second.send("POST", "/count?by=2");
        now = awaitState(ports, disk, "replaced");
        fires(now, now, Set.of("CounterReplaced", "CounterCountsLost"));

        assertThat(second.send("POST", "/peers/restore?from=" + RELEASE + "-0").body())
                .contains("\"restored\"");
        now = awaitState(ports, disk, "restored");
        fires(now, now, Set.of());

        second.freeze();
        copy(disk.resolve("data"), folder.resolve("older"));
        second.thaw();
        second.send("POST", "/count?by=3");
        assertThat(first.json("/peers").get("total").getLongValue()).isEqualTo(2 + 2 + 5 + 3);
        second.kill();
        delete(disk.resolve("data"));
        copy(folder.resolve("older"), disk.resolve("data"));
        second = start(RELEASE + "-1", settings);
        now = awaitState(ports, disk, "rolled-back");
        fires(now, now, Set.of("CounterRolledBack", "CounterCountsLost"));

        second.kill();
        first.kill();
        now = scrape(ports, disk);
        fires(well, now, Set.of("CounterReplicaDown", "CounterAllReplicasDown"));

        int management = startWithCertificate();
        now = new Scraped();
        now.add(
                0,
                Awaitility.await()
                        .atMost(Duration.ofSeconds(60))
                        .until(
                                () -> scrape(management),
                                metrics -> metrics.contains("counterset_peers_source_state{state=\"unavailable\"} 1")));
        fires(now, now, Set.of("CounterCertificateExpiring", "CounterPeerListStale"));
    }

    private void tryStuck(Path device) throws Exception {
        int port = ServiceProcess.freePort();
        ServiceProcess service = start(
                RELEASE + "-0",
                Map.of(
                        "COUNTER_DIRECTORY",
                        device.getFileName() + "/data",
                        "MICRONAUT_SERVER_PORT",
                        Integer.toString(port)));
        Scraped stuck = new Scraped();
        CompletableFuture<HttpResponse<String>> waiting;
        SmallDisk.freeze(device);
        try {
            waiting = CompletableFuture.supplyAsync(() -> service.send("POST", "/count"));
            stuck.add(
                    0,
                    Awaitility.await()
                            .atMost(Duration.ofSeconds(60))
                            .until(
                                    () -> scrape(port),
                                    metrics -> STUCK.matcher(metrics).find()));
        } finally {
            SmallDisk.thaw(device);
        }
        fires(stuck, stuck, Set.of("CounterCommitStuck"), "CounterCommitStuck: {seconds: 1}");

        assertThat(waiting.get(60, TimeUnit.SECONDS).statusCode()).isEqualTo(200);
        Scraped repaired = new Scraped();
        repaired.add(0, scrape(port));
        fires(repaired, repaired, Set.of(), "CounterCommitStuck: {seconds: 1}");
    }

    private static void copy(Path from, Path to) throws IOException {
        Files.createDirectory(to);
        for (Path file : files(from)) {
            Files.copy(file, to.resolve(file.getFileName()));
        }
    }

    private static void delete(Path directory) throws IOException {
        for (Path file : files(directory)) {
            Files.delete(file);
        }
        Files.delete(directory);
    }

    private static List<Path> files(Path directory) throws IOException {
        try (Stream<Path> files = Files.list(directory)) {
            return files.toList();
        }
    }

    // ---- Prometheus ----

    /** Samples by series, each with the labels that the Prometheus operator adds. */
    private static final class Scraped {

        private final Map<String, String> samples = new TreeMap<>();

        void add(int ordinal, String metrics) {
            add(ordinal, "up", "", 1);
            for (Matcher sample = SAMPLE.matcher(metrics); sample.find(); ) {
                double value = Double.parseDouble(sample.group(3));
                if (sample.group(1).equals("counterset_certificate_expires_seconds")) {
                    value -= Instant.now().getEpochSecond(); // the tool's clock starts in 1970
                }
                String labels = sample.group(2) == null ? "" : sample.group(2) + ", ";
                add(ordinal, sample.group(1), labels, value);
            }
        }

        void add(int ordinal, String metric, String labels, double value) {
            samples.put(
                    "%s{%snamespace=\"demo\", job=\"%s-headless\", pod=\"%s-%d\"}"
                            .formatted(metric, labels, RELEASE, RELEASE, ordinal),
                    Double.isFinite(value) ? new BigDecimal(value).toPlainString() : Double.toString(value));
        }

        Scraped without(int ordinal) {
            Scraped rest = new Scraped();
            samples.forEach((series, value) -> {
                if (!series.contains("pod=\"%s-%d\"".formatted(RELEASE, ordinal))) {
                    rest.samples.put(series, value);
                }
            });
            return rest;
        }

        /** Returns the values of the series that begin like that. */
        DoubleStream values(String series) {
            return samples.entrySet().stream()
                    .filter(sample -> sample.getKey().startsWith(series))
                    .mapToDouble(sample -> Double.parseDouble(sample.getValue()));
        }
    }

    private static String scrape(int port) throws IOException, InterruptedException {
        return CLIENT.send(
                        HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + port + "/prometheus"))
                                .timeout(Duration.ofSeconds(30))
                                .build(),
                        HttpResponse.BodyHandlers.ofString())
                .body();
    }

    /** Scrapes both replicas, and asks for the second one's volume what the kubelet would. */
    private static Scraped scrape(int[] ports, Path disk) throws IOException, InterruptedException {
        Scraped scraped = new Scraped();
        for (int i = 0; i < ports.length; i++) {
            try {
                scraped.add(i, scrape(ports[i]));
            } catch (IOException e) {
                scraped.add(i, "up", "", 0);
            }
        }
        String claim = "{namespace=\"demo\", persistentvolumeclaim=\"data-" + RELEASE + "-1\"}";
        scraped.samples.put(
                "kubelet_volume_stats_available_bytes" + claim,
                Long.toString(Files.getFileStore(disk).getUsableSpace()));
        scraped.samples.put(
                "kubelet_volume_stats_capacity_bytes" + claim,
                Long.toString(Files.getFileStore(disk).getTotalSpace()));
        return scraped;
    }

    /** Waits until that gauge of every replica that is up has that value. */
    private static Scraped await(int[] ports, Path disk, String gauge, double value) {
        return await(
                ports,
                disk,
                scraped -> scraped.values(gauge + "{")
                                .filter(found -> found == value)
                                .count()
                        == (long) scraped.values("up{").sum());
    }

    /**
     * Waits until a replica reports one in that state, and the reports of both are complete. The
     * replica that lost its volume knows of no loss, so the state alone says nothing about its
     * reports.
     */
    private static Scraped awaitState(int[] ports, Path disk, String state) {
        String gauge = "counterset_peers_state{state=\"" + state + "\"";
        return await(
                ports,
                disk,
                scraped -> scraped.values(gauge).anyMatch(found -> found == 1)
                        && scraped.values("counterset_peers_complete{")
                                        .filter(found -> found == 1)
                                        .count()
                                == ports.length);
    }

    private static Scraped await(int[] ports, Path disk, Predicate<Scraped> condition) {
        return Awaitility.await()
                .atMost(Duration.ofSeconds(60))
                .pollInterval(Duration.ofMillis(100))
                .until(() -> scrape(ports, disk), condition);
    }

    /** The groups of the chart's rules, each of which fires as soon as it holds. */
    private String rules(String alerts) throws IOException {
        Path values = Files.writeString(
                folder.resolve("values.yaml"), "prometheusRule: {enabled: true, alerts: {" + alerts + "}}");
        String objects = new Helm(CHART)
                .template()
                .withName(RELEASE)
                .withNamespace("demo")
                .withKubeVersion("1.36.0")
                .withValuesFile(values)
                .call();
        for (String object : objects.split("\n---\n", -1)) {
            if (object.contains("kind: PrometheusRule")) {
                return object.substring(object.indexOf("\nspec:\n") + "\nspec:\n".length())
                        .replaceAll("(?m)^ +for: .*\n", "")
                        .stripIndent();
            }
        }
        throw new AssertionError("the chart has no rules");
    }

    /**
     * Returns the alerts that fire after half an hour of the first samples and three minutes of the
     * second.
     */
    private void fires(Scraped before, Scraped after, Set<String> alerts) throws IOException, InterruptedException {
        fires(before, after, alerts, "");
    }

    private void fires(Scraped before, Scraped after, Set<String> alerts, String values)
            throws IOException, InterruptedException {
        tried.addAll(alerts);
        StringBuilder test = new StringBuilder("""
                rule_files: [rules.yaml]
                evaluation_interval: 30s
                tests:
                  - interval: 30s
                    promql_expr_test:
                      - expr: 'count by (alertname) (ALERTS{alertstate="firing"}) > bool 0'
                        eval_time: 33m
                        exp_samples: [%s]
                    input_series:
                """.formatted(String.join(
                ", ",
                alerts.stream()
                        .map(alert -> "{labels: '{alertname=\"" + alert + "\"}', value: 1}")
                        .toList())));
        Set<String> all = new TreeSet<>(before.samples.keySet());
        all.addAll(after.samples.keySet());
        for (String series : all) {
            test.append("      - {series: '%s', values: '%s%s'}%n"
                    .formatted(
                            series.replace("'", "''"),
                            (before.samples.getOrDefault(series, "_") + " ").repeat(60),
                            (after.samples.getOrDefault(series, "_") + " ").repeat(60)));
        }
        Files.writeString(folder.resolve("rules.yaml"), rules(values));
        Files.writeString(folder.resolve("test.yaml"), test);
        Process promtool = new ProcessBuilder("promtool", "test", "rules", "test.yaml")
                .directory(folder.toFile())
                .redirectErrorStream(true)
                .start();
        String output = new String(promtool.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertThat(promtool.waitFor(30, TimeUnit.SECONDS)).isTrue();
        assertThat(promtool.exitValue()).as(output).isZero();
    }
}
