// SPDX-License-Identifier: Apache-2.0
package io.counterset.helm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.marcnuri.helm.Helm;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * All ways to deliver the chart create the same objects, and a signed package arrives in a
 * registry.
 */
class DeliveryTest {

    private static final String VERSION = System.getProperty("project.version");

    static List<String> versions() {
        return List.of(Chart.OLDEST_KUBERNETES, Chart.NEWEST_KUBERNETES);
    }

    /**
     * {@code helm template}, for {@code kubectl apply} or a GitOps tool, renders the objects that
     * an install and an upgrade create.
     */
    @ParameterizedTest
    @MethodSource("versions")
    void templateInstallAndUpgradeGiveTheSameObjects(String kubernetes) throws IOException {
        Chart.Objects template = Chart.render(Chart.DIRECTORY, "app-python", ValueSetsTest.EVERYTHING, kubernetes);
        try (Cluster cluster = new Cluster(kubernetes)) {
            cluster.install(Chart.DIRECTORY, ValueSetsTest.EVERYTHING);
            assertThat(manifest(cluster)).isEqualTo(template);

            cluster.upgrade(Chart.DIRECTORY, ValueSetsTest.EVERYTHING);
            assertThat(manifest(cluster)).isEqualTo(template);
        }
    }

    /** No random value, cluster state or clock changes an object: a diff is empty. */
    @Test
    void anUpgradeWithoutChangesChangesNothing() throws IOException {
        try (Cluster cluster = new Cluster(Chart.NEWEST_KUBERNETES)) {
            cluster.install(Chart.DIRECTORY, ValueSetsTest.EVERYTHING);
            JsonNode first = cluster.record();

            cluster.upgrade(Chart.DIRECTORY, ValueSetsTest.EVERYTHING);
            JsonNode second = cluster.record();
            new Helm(Chart.DIRECTORY)
                    .upgrade()
                    .withName("app-python")
                    .withNamespace("demo")
                    .reuseValues()
                    .withKubeConfigContents(cluster.kubeConfig())
                    .disableOpenApiValidation()
                    .call();
            JsonNode reused = cluster.record();

            assertThat(reused.path("version").asInt()).isEqualTo(3);
            assertThat(second.path("manifest")).isEqualTo(first.path("manifest"));
            assertThat(reused.path("manifest")).isEqualTo(first.path("manifest"));
            assertThat(reused.path("hooks").findValues("manifest"))
                    .isEqualTo(first.path("hooks").findValues("manifest"));
        }
    }

    private static Chart.Objects manifest(Cluster cluster) throws IOException {
        return Chart.Objects.parse(cluster.record().path("manifest").asText());
    }

    /**
     * The steps of docs/releasing.md with the test's own key and registry. Skipped if gpg or
     * docker-registry is missing.
     */
    @Test
    void aSignedPackageArrivesInARegistryWithItsProvenance(@TempDir Path directory) throws Exception {
        Path keyring = makeKey(directory);
        new Helm(Chart.DIRECTORY)
                .packageIt()
                .withDestination(directory)
                .sign()
                .withKey("Counterset")
                .withKeyring(keyring)
                .call();
        Path chart = directory.resolve("counter-" + VERSION + ".tgz");
        assertThat(directory.resolve("counter-" + VERSION + ".tgz.prov"))
                .content()
                .contains("BEGIN PGP SIGNATURE", "counter-" + VERSION + ".tgz: sha256:");

        Path configuration = directory.resolve("registry.yml");
        Files.writeString(configuration, """
                version: 0.1
                log: {formatter: text}
                storage: {filesystem: {rootdirectory: "%s"}}
                http: {addr: "127.0.0.1:0"}
                """.formatted(directory.resolve("registry")));
        Path log = directory.resolve("registry.log");
        Process registry = start(log, Map.of(), "docker-registry", "serve", configuration.toString());
        try {
            String address = address(registry, log);
            Helm.push()
                    .withChart(chart)
                    .withRemote(URI.create("oci://" + address + "/charts"))
                    .plainHttp()
                    .call();

            var request = HttpRequest.newBuilder(
                            URI.create("http://" + address + "/v2/charts/counter/manifests/" + VERSION))
                    .header("Accept", "application/vnd.oci.image.manifest.v1+json")
                    .build();
            JsonNode manifest = Chart.YAML.readTree(HttpClient.newHttpClient()
                    .send(request, BodyHandlers.ofString())
                    .body());
            assertThat(manifest.path("layers").findValuesAsText("mediaType"))
                    .containsExactlyInAnyOrder(
                            "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
                            "application/vnd.cncf.helm.chart.provenance.v1.prov");
            assertThat(manifest.path("layers").findValuesAsText("size")).contains(String.valueOf(Files.size(chart)));
        } finally {
            registry.destroy();
            assertThat(registry.waitFor(10, TimeUnit.SECONDS)).isTrue();
        }
    }

    private static Path makeKey(Path directory) throws IOException, InterruptedException {
        Path home = Files.createDirectory(directory.resolve("gnupg"));
        Map<String, String> environment = Map.of("GNUPGHOME", home.toString());
        Path keyring = directory.resolve("secring.gpg");
        for (List<String> arguments : List.of(
                List.of("--quick-generate-key", "Counterset <counterset@example.com>", "rsa3072", "sign", "never"),
                List.of("--output", keyring.toString(), "--export-secret-keys", "Counterset"))) {
            List<String> command = new ArrayList<>(List.of("gpg", "--batch", "--yes", "--passphrase", ""));
            command.add("--pinentry-mode");
            command.add("loopback");
            command.addAll(arguments);
            Path log = directory.resolve("gpg.log");
            Process gpg = start(log, environment, command.toArray(String[]::new));
            assertThat(gpg.waitFor(60, TimeUnit.SECONDS)).isTrue();
            assertThat(gpg.exitValue()).as(Files.readString(log)).isZero();
        }
        start(directory.resolve("gpg.log"), environment, "gpgconf", "--kill", "all")
                .waitFor(10, TimeUnit.SECONDS);
        return keyring;
    }

    private static Process start(Path log, Map<String, String> environment, String... command) throws IOException {
        ProcessBuilder builder =
                new ProcessBuilder(command).redirectErrorStream(true).redirectOutput(log.toFile());
        builder.environment().putAll(environment);
        try {
            return builder.start();
        } catch (IOException e) {
            assumeTrue(false, command[0] + " is not installed: signing and pushing are not tested");
            throw e;
        }
    }

    private static String address(Process registry, Path log) throws IOException, InterruptedException {
        Pattern listening = Pattern.compile("listening on (127\\.0\\.0\\.1:\\d+)");
        for (int i = 0; i < 200 && registry.isAlive(); i++) {
            var found = listening.matcher(Files.readString(log, StandardCharsets.UTF_8));
            if (found.find()) {
                return found.group(1);
            }
            TimeUnit.MILLISECONDS.sleep(50);
        }
        throw new AssertionError("the registry is not listening: " + Files.readString(log));
    }
}
