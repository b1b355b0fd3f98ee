// SPDX-License-Identifier: Apache-2.0
package io.counterset.helm;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Which values restart the pods, which must not, and what must never change between versions. */
class RolloutTest {

    /**
     * The mutable fields of a StatefulSet's spec. All others are immutable in at least one version
     * of Kubernetes.
     */
    private static final List<String> MUTABLE = List.of(
            "replicas", "template", "updateStrategy", "minReadySeconds", "persistentVolumeClaimRetentionPolicy");

    /**
     * Releases of the first version: their values, and the parts of their objects that no later
     * version may change.
     */
    static JsonNode[] releases() throws IOException {
        JsonNode golden = Chart.YAML.readTree(
                Path.of("src/test/resources/immutable-fields.yaml").toFile());
        JsonNode[] releases = new JsonNode[golden.size()];
        for (int i = 0; i < releases.length; i++) {
            releases[i] = golden.get(i);
        }
        return releases;
    }

    @ParameterizedTest
    @MethodSource("releases")
    void immutableFieldsAreThoseOfTheFirstVersion(JsonNode golden) {
        Chart.Objects objects = Chart.render("app-python", golden.path("values").toString());

        assertThat(immutable(objects)).isEqualTo(golden.path("immutable"));
    }

    private static ObjectNode immutable(Chart.Objects objects) {
        ObjectNode fields = Chart.YAML.createObjectNode();
        ObjectNode spec = ((ObjectNode) objects.statefulSet().path("spec")).deepCopy();
        spec.remove(MUTABLE);
        fields.putObject("StatefulSet")
                .set(objects.statefulSet().at("/metadata/name").asText(), spec);
        ObjectNode services = fields.putObject("Service");
        for (JsonNode service : objects.of("Service")) {
            ObjectNode kept = services.putObject(service.at("/metadata/name").asText());
            kept.put("clusterIP", service.at("/spec/clusterIP").asText(""))
                    .set("selector", service.at("/spec/selector"));
        }
        for (JsonNode binding : objects.of("RoleBinding")) {
            fields.set("RoleBinding", binding.path("roleRef"));
        }
        return fields;
    }

    @Test
    void aNewVersionChangesNothingImmutableAndDoesNotRestartAPinnedImage(@TempDir Path directory) throws IOException {
        String values = "{image: {tag: pinned}, commonLabels: {release: first}}";
        Path next = directory.resolve("counter");
        Chart.copyTo(next);
        String chart = Files.readString(next.resolve("Chart.yaml"));
        Files.writeString(next.resolve("Chart.yaml"), chart.replace(System.getProperty("project.version"), "99.9.9"));

        Chart.Objects before = Chart.render("app-python", values);
        Chart.Objects after = Chart.render(next, "app-python", values, Chart.NEWEST_KUBERNETES);

        assertThat(after.statefulSet()
                        .at("/metadata/labels/app.kubernetes.io~1version")
                        .asText())
                .isEqualTo("99.9.9");
        JsonNode spec = after.statefulSet().path("spec");
        assertThat(spec).isEqualTo(before.statefulSet().path("spec"));
        assertThat(after.get("Service", "app-python").path("spec"))
                .isEqualTo(before.get("Service", "app-python").path("spec"));
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "replicaCount: 7",
                "updateStrategy: {rollingUpdate: {partition: 1}}",
                "minReadySeconds: 10",
                "persistentVolumeClaimRetentionPolicy: {whenScaled: Delete}",
                "service: {type: ClusterIP, port: 80}",
                "serviceMonitor: {enabled: true}",
                "ingress: {enabled: true}",
                "podDisruptionBudget: {maxUnavailable: 2}",
                "tests: {enabled: false}",
                "extraManifests: [{apiVersion: v1, kind: Service, metadata: {name: another}}]",
            })
    void restartsNoPods(String values) {
        assertThat(template(values)).isEqualTo(template(""));
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "counter: {name: clicks}",
                "counter: {durability: 50ms}",
                "counter: {idempotency: {maxKeys: 5}}",
                "counter: {idempotency: {maxAge: 1h}}",
                "peers: {source: dns}",
                "rbac: {create: false}",
                "containerPort: 9090",
                "log: {format: json}",
                "jvm: {options: -Xmx64m}",
                "image: {tag: other}",
                "resources: {limits: {memory: 512Mi}}",
                "extraEnv: [{name: TZ, value: UTC}]",
            })
    void restartsThePods(String values) {
        assertThat(template(values)).isNotEqualTo(template(""));
    }

    @Test
    void scalingRestartsThePodsOnlyWithDns() {
        assertThat(template("{peers: {source: dns}, replicaCount: 4}"))
                .isNotEqualTo(template("{peers: {source: dns}}"));
    }

    @Test
    void aChangedExtraConfigMapRestartsThePods() {
        String values = """
                extraManifests:
                  - {apiVersion: v1, kind: ConfigMap, metadata: {name: settings}, data: {a: "%s"}}
                  - |
                    {apiVersion: v1, kind: Service, metadata: {name: {{ .Release.Name }}-other}}
                    ---
                    {apiVersion: v1, kind: Secret, metadata: {name: {{ .Release.Name }}}, stringData: {a: "%s"}}
                    ---
                    {apiVersion: v1, kind: ConfigMap, metadata: {name: {{ .Release.Name }}}, data: {a: "%s"}}
                """;

        assertThat(template(values.formatted(1, 1, 1))).isEqualTo(template(values.formatted(1, 1, 1)));
        assertThat(template(values.formatted(1, 1, 1))).isNotEqualTo(template(values.formatted(2, 1, 1)));
        assertThat(template(values.formatted(1, 1, 1))).isNotEqualTo(template(values.formatted(1, 2, 1)));
        assertThat(template(values.formatted(1, 1, 1))).isNotEqualTo(template(values.formatted(1, 1, 2)));
    }

    private static JsonNode template(String values) {
        return Chart.render("app-python", values).statefulSet().at("/spec/template");
    }
}
