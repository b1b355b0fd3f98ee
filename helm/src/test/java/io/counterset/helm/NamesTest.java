// SPDX-License-Identifier: Apache-2.0
package io.counterset.helm;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Names that YAML reads as numbers, booleans or null, and names that are too long. */
class NamesTest {

    /**
     * With any name, the objects are those of an ordinary name with the other name in its place.
     */
    @ParameterizedTest
    @ValueSource(strings = {"y", "n", "on", "off", "yes", "no", "true", "false", "null", "nan", "inf"})
    void namesThatYamlCouldMisreadStayNames(String name) {
        Chart.Objects objects = Chart.renderIn(name, name, values(name));

        objects.all().forEach(KubernetesTypes.NEWEST::check);
        Consistency.check(objects);
        assertThat(objects.statefulSet().at("/metadata/namespace")).isEqualTo(text(name));
        assertThat(objects.statefulSet().at("/metadata/labels/app.kubernetes.io~1instance"))
                .isEqualTo(text(name));
        Chart.Objects ordinary = Chart.renderIn("ordinary", "ordinary", values("ordinary"));
        assertThat(shape(objects)).isEqualTo(shape(ordinary));
    }

    /** These cannot be the name of a service, but of a namespace, a label or a Secret. */
    @ParameterizedTest
    @ValueSource(strings = {"2024", "1e3", "0x1f", "007", "1-2", "12e03", "0o7"})
    void numbersAsNamesStayNames(String name) {
        Chart.Objects objects = Chart.renderIn(name, name, """
                fullnameOverride: counters
                nameOverride: "%1$s"
                serviceAccount: {name: "%1$s"}
                imagePullSecrets: ["%1$s"]
                existingConfigMap: "%1$s"
                existingSecret: "%1$s"
                persistence: {storageClass: "%1$s"}
                priorityClassName: "%1$s"
                commonLabels: {team: "%1$s"}
                commonAnnotations: {team: "%1$s"}
                image: {tag: "%1$s"}
                prometheusRule: {enabled: true}
                serviceMonitor: {enabled: true}
                networkPolicy: {enabled: true, apiServer: {cidrs: [10.0.0.1/32]}}
                """.formatted(name));

        objects.all().forEach(KubernetesTypes.NEWEST::check);
        Consistency.check(objects);
        assertThat(objects.statefulSet().at("/metadata/namespace")).isEqualTo(text(name));
        assertThat(objects.at("RoleBinding", "counters", "/subjects/0/namespace"))
                .isEqualTo(text(name));
        assertThat(objects.at("ServiceMonitor", "counters", "/spec/namespaceSelector/matchNames/0"))
                .isEqualTo(text(name));
    }

    private static String values(String name) {
        return """
                nameOverride: "%1$s"
                service: {name: "%1$s", loadBalancerClass: "%1$s"}
                headlessService: {name: "%1$s-peers"}
                serviceAccount: {name: "%1$s"}
                imagePullSecrets: [{name: "%1$s"}]
                persistence: {name: "%1$s", storageClass: "%1$s", mountPath: "/%1$s", subPath: "%1$s", importFrom: "%1$s"}
                counter: {name: "%1$s"}
                tests: {counter: "%1$s"}
                priorityClassName: "%1$s"
                schedulerName: "%1$s"
                runtimeClassName: "%1$s"
                commonLabels: {team: "%1$s"}
                podLabels: {of: "%1$s"}
                image: {tag: "%1$s"}
                ingress: {enabled: true, className: "%1$s", hosts: [{host: "%1$s"}], tls: [{secretName: "%1$s", hosts: ["%1$s"]}]}
                ingressPerReplica: {enabled: true, domain: "%1$s", className: "%1$s", tlsSecretName: "%1$s"}
                httpRoute: {enabled: true, parentRefs: [{name: "%1$s"}], hostnames: ["%1$s"]}
                serviceMonitor: {enabled: true}
                prometheusRule: {enabled: true}
                grafanaDashboard: {enabled: true}
                networkPolicy: {enabled: true, apiServer: {cidrs: [10.0.0.1/32]}}
                """.formatted(name);
    }

    private static JsonNode text(String text) {
        return Chart.YAML.getNodeFactory().textNode(text);
    }

    /** Returns every place in the objects with the type of its value. */
    private static List<String> shape(Chart.Objects objects) {
        List<String> shape = new ArrayList<>();
        objects.all().stream().map(o -> o.path("kind").asText()).sorted().forEach(shape::add);
        Set<String> places = new TreeSet<>();
        objects.all().forEach(o -> walk(o.path("kind").asText(), o, places));
        shape.addAll(places);
        return shape;
    }

    private static void walk(String place, JsonNode node, Set<String> places) {
        places.add(place + " " + node.getNodeType());
        node.properties()
                .forEach((Map.Entry<String, JsonNode> e) -> walk(place + "/" + e.getKey(), e.getValue(), places));
        for (int i = 0; node.isArray() && i < node.size(); i++) {
            walk(place + "/" + i, node.get(i), places);
        }
    }

    @Test
    void longNamesAreTruncatedAndStayDistinct() {
        String longest = "a".repeat(52);
        String first = name(longest + "b", "");
        String second = name(longest + "c", "");

        assertThat(List.of(first, second))
                .doesNotHaveDuplicates()
                .allSatisfy(n -> assertThat(n).hasSizeLessThanOrEqualTo(52).startsWith("a".repeat(43) + "-"));
        assertThat(name(longest, "")).as("a name that fits is kept").isEqualTo(longest);
        assertThat(name("a".repeat(30), "nameOverride: " + "b".repeat(30)))
                .hasSize(52)
                .isNotEqualTo(name("a".repeat(30), "nameOverride: " + "b".repeat(31)));
    }

    private static String name(String release, String values) {
        return Chart.render(release, values).statefulSet().at("/metadata/name").asText();
    }
}
