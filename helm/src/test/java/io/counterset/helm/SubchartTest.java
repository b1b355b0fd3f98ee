// SPDX-License-Identifier: Apache-2.0
package io.counterset.helm;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A parent chart includes the chart once with a condition and twice with an alias. */
class SubchartTest {

    private static final String OFF = "{counter: {enabled: false}, clicks: {enabled: false}, sales: {enabled: false}}";

    @TempDir
    @SuppressWarnings("NullAway.Init")
    private static Path parent;

    @BeforeAll
    static void makeParent() throws IOException {
        String version = System.getProperty("project.version");
        Chart.copyTo(parent.resolve("charts/counter"));
        Files.writeString(parent.resolve("Chart.yaml"), """
                apiVersion: v2
                name: shop
                version: 1.0.0
                dependencies:
                  - {name: counter, version: "%1$s", condition: counter.enabled}
                  - {name: counter, version: "%1$s", alias: clicks, condition: clicks.enabled}
                  - {name: counter, version: "%1$s", alias: sales, condition: sales.enabled}
                """.formatted(version));
        Files.writeString(parent.resolve("values.yaml"), OFF);
    }

    private static Chart.Objects render(String values) {
        return Chart.render(parent, "shop", values, Chart.NEWEST_KUBERNETES);
    }

    @Test
    void aConditionTurnsItOnAndOff() {
        Chart.Objects on = render("counter: {enabled: true, replicaCount: 2}");

        assertThat(on.statefulSet().at("/spec/replicas").asInt()).isEqualTo(2);
        assertThat(on.statefulSet().at("/metadata/name").asText())
                .as("the name distinguishes it from the parent's own objects")
                .isEqualTo("shop-counter");
        assertThat(on.all())
                .as("the two that are off create no objects")
                .allSatisfy(o -> assertThat(o.at("/metadata/name").asText()).startsWith("shop-counter"));
        Consistency.check(on);
    }

    @Test
    void twoAliasesShareNothing() {
        Chart.Objects both = render("{clicks: {enabled: true}, sales: {enabled: true, persistence: {name: volume}}}");

        assertThat(both.names()).doesNotHaveDuplicates().contains("StatefulSet/shop-clicks", "StatefulSet/shop-sales");
        Set<JsonNode> selectors = new HashSet<>();
        for (JsonNode set : both.of("StatefulSet")) {
            selectors.add(set.at("/spec/selector/matchLabels"));
            both.all().forEach(KubernetesTypes.NEWEST::check);
        }
        assertThat(selectors).hasSize(2);
        for (String alias : List.of("clicks", "sales")) {
            assertThat(both.at("Service", "shop-" + alias, "/spec/selector/app.kubernetes.io~1name")
                            .asText())
                    .isEqualTo(alias);
            assertThat(both.at("RoleBinding", "shop-" + alias, "/subjects/0/name")
                            .asText())
                    .isEqualTo("shop-" + alias);
            Consistency.check(new Chart.Objects(both.all().stream()
                    .filter(o -> o.at("/metadata/labels/app.kubernetes.io~1name")
                            .asText()
                            .equals(alias))
                    .toList()));
        }
    }

    @Test
    void honoursTheParentsGlobalValues() {
        Chart.Objects objects = render("""
                global:
                  imageRegistry: registry.example.com
                  imagePullSecrets: [parent, {name: second}]
                  storageClass: fast
                  openshift: true
                  somethingElse: {a: b}
                counter:
                  enabled: true
                  image: {registry: ignored.example.com}
                  imagePullSecrets: [{name: own}, {name: parent}]
                """);

        assertThat(objects.container().path("image").asText()).startsWith("registry.example.com/counter-app:");
        assertThat(objects.pod().path("imagePullSecrets").findValuesAsText("name"))
                .containsExactly("parent", "second", "own");
        assertThat(objects.statefulSet()
                        .at("/spec/volumeClaimTemplates/0/spec/storageClassName")
                        .asText())
                .isEqualTo("fast");
        assertThat(objects.pod().path("securityContext").has("runAsUser")).isFalse();
    }

    @Test
    void nullInTheParentRemovesADefault() {
        Chart.Objects objects =
                render("counter: {enabled: true, startupProbe: null, resources: null, counter: {durability: null}}");

        assertThat(objects.container().has("startupProbe")).isFalse();
        assertThat(objects.container().has("resources")).isFalse();
        assertThat(objects.environment())
                .doesNotContainKey("COUNTER_DURABILITY")
                .containsKey("COUNTER_NAME");
    }
}
