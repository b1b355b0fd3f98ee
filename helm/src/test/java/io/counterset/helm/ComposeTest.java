// SPDX-License-Identifier: Apache-2.0
package io.counterset.helm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.TreeSet;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.yaml.snakeyaml.Yaml;

/**
 * compose.yaml starts three replicas without Kubernetes, each with its own name, volume and port,
 * and all with the same peers.
 */
class ComposeTest {

    private static final JsonNode COMPOSE = compose();

    /** Uses SnakeYAML, which resolves merge keys, as Jackson does not. */
    private static JsonNode compose() {
        try {
            return Chart.YAML.valueToTree(new Yaml().load(Files.readString(Path.of("..", "compose.yaml"))));
        } catch (IOException e) {
            throw new java.io.UncheckedIOException(e);
        }
    }

    @Test
    void eachReplicaHasItsOwnNameVolumeAndPort() {
        List<String> volumes = new ArrayList<>();
        List<String> ports = new ArrayList<>();
        TreeSet<String> addresses = new TreeSet<>();
        COMPOSE.path("services").properties().forEach(service -> {
            JsonNode replica = service.getValue();
            assertThat(replica.at("/environment/COUNTER_INSTANCE").asText()).isEqualTo(service.getKey());
            assertThat(replica.path("volumes")).hasSize(1);
            volumes.add(replica.at("/volumes/0").asText());
            ports.add(replica.at("/ports/0").asText());
            addresses.add(service.getKey() + ":8080");
        });

        assertThat(volumes).hasSize(3).doesNotHaveDuplicates().allSatisfy(v -> {
            assertThat(v).endsWith(":/data");
            assertThat(COMPOSE.path("volumes").has(v.replace(":/data", ""))).isTrue();
        });
        assertThat(ports).doesNotHaveDuplicates().allSatisfy(p -> assertThat(p).matches("127\\.0\\.0\\.1:\\d+:8080"));
        COMPOSE.path("services")
                .forEach(replica -> assertThat(replica.at("/environment/COUNTER_PEERS_ADDRESSES")
                                .asText()
                                .split(",", -1))
                        .containsExactlyInAnyOrderElementsOf(addresses));
    }

    @Test
    void runsTheChartsImageWithTheChartsOptions() {
        JsonNode container = Chart.render("app-python", "").container();
        String options = Chart.render("app-python", "").environment().get("JAVA_TOOL_OPTIONS");
        COMPOSE.path("services").forEach(replica -> {
            assertThat(replica.path("image")).isEqualTo(container.path("image"));
            assertThat(replica.at("/environment/JAVA_TOOL_OPTIONS").asText()).isEqualTo(options);
            assertThat(replica.path("read_only").asBoolean()).isTrue();
            assertThat(replica.path("cap_drop")).isEqualTo(container.at("/securityContext/capabilities/drop"));
            assertThat(container.at("/resources/limits/memory").asText().toLowerCase(Locale.ROOT))
                    .startsWith(replica.path("mem_limit").asText());
        });
    }

    /**
     * Compose itself checks the file, for which it needs no daemon. Skipped if Compose is not
     * installed.
     */
    @Test
    void composeAcceptsTheFile() throws IOException, InterruptedException {
        String file = Path.of("..", "compose.yaml").toString();
        boolean tried = false;
        for (List<String> command : List.of(List.of("docker", "compose"), List.of("docker-compose"))) {
            if (run(command, "version").status == 0) {
                Result result = run(command, "-f", file, "config", "--quiet");
                assertThat(result.status).as(result.output).isZero();
                tried = true;
            }
        }
        assumeTrue(tried, "neither docker compose nor docker-compose is installed: compose.yaml is not checked");
    }

    private record Result(int status, String output) {}

    private static Result run(List<String> command, String... arguments) throws IOException, InterruptedException {
        List<String> all = new ArrayList<>(command);
        all.addAll(List.of(arguments));
        Process process;
        try {
            process = new ProcessBuilder(all).redirectErrorStream(true).start();
        } catch (IOException e) {
            return new Result(-1, all.get(0) + " is not installed");
        }
        String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertThat(process.waitFor(60, TimeUnit.SECONDS)).isTrue();
        return new Result(process.exitValue(), output);
    }
}
