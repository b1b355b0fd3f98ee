package io.counterset.helm;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeSet;
import org.junit.jupiter.api.Test;
import org.yaml.snakeyaml.Yaml;

/** Three replicas without Kubernetes: does compose.yaml give each its own name, volume and port, and all the same peers? */
class ComposeTest {

    private static final JsonNode COMPOSE = compose();

    /** SnakeYAML resolves the merge keys, which Jackson does not. */
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
    void itRunsTheChartsImageWithTheChartsOptions() {
        JsonNode container = Chart.render("app-python", "").container();
        String options = Chart.render("app-python", "").environment().get("JAVA_TOOL_OPTIONS");
        COMPOSE.path("services").forEach(replica -> {
            assertThat(replica.path("image")).isEqualTo(container.path("image"));
            assertThat(replica.at("/environment/JAVA_TOOL_OPTIONS").asText()).isEqualTo(options);
            assertThat(replica.path("read_only").asBoolean()).isTrue();
        });
    }
}
