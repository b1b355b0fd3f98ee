// SPDX-License-Identifier: Apache-2.0
package io.counterset.helm;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.function.Predicate;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;

/**
 * The rules of the Pod Security Standard, profile <em>restricted</em>, which includes
 * <em>baseline</em>.
 */
final class PodSecurity {

    private static final Set<String> SAFE_SYSCTLS = Set.of(
            "kernel.shm_rmid_forced",
            "net.ipv4.ip_local_port_range",
            "net.ipv4.ip_unprivileged_port_start",
            "net.ipv4.tcp_syncookies",
            "net.ipv4.ping_group_range",
            "net.ipv4.ip_local_reserved_ports",
            "net.ipv4.tcp_keepalive_time",
            "net.ipv4.tcp_fin_timeout",
            "net.ipv4.tcp_keepalive_intvl",
            "net.ipv4.tcp_keepalive_probes",
            "net.ipv4.tcp_rmem",
            "net.ipv4.tcp_wmem");
    private static final Set<String> VOLUMES = Set.of(
            "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret");

    private PodSecurity() {}

    /**
     * Returns the rules that the pod breaks, by their names in the standard; empty if it passes.
     */
    static Set<String> violations(JsonNode pod) {
        Set<String> violations = new TreeSet<>();
        JsonNode spec = pod.path("spec");
        JsonNode podContext = spec.path("securityContext");
        List<JsonNode> containers = new ArrayList<>();
        for (String field : List.of("containers", "initContainers", "ephemeralContainers")) {
            spec.path(field).forEach(containers::add);
        }
        List<JsonNode> contexts = new ArrayList<>(List.of(podContext));
        containers.forEach(c -> contexts.add(c.path("securityContext")));

        forbid(
                violations,
                "HostProcess",
                contexts,
                c -> c.at("/windowsOptions/hostProcess").asBoolean());
        if (Stream.of("hostNetwork", "hostPID", "hostIPC")
                .anyMatch(f -> spec.path(f).asBoolean())) {
            violations.add("Host Namespaces");
        }
        forbid(
                violations,
                "Privileged Containers",
                contexts,
                c -> c.path("privileged").asBoolean());
        forbid(violations, "Capabilities", contexts, c -> {
            List<String> add = strings(c.at("/capabilities/add"));
            return !Set.of("NET_BIND_SERVICE").containsAll(add);
        });
        forbid(
                violations,
                "Capabilities",
                containers,
                c -> !strings(c.at("/securityContext/capabilities/drop")).contains("ALL"));
        forbid(violations, "HostPath Volumes", spec.path("volumes"), v -> v.has("hostPath"));
        forbid(
                violations,
                "Host Ports",
                containers,
                c -> stream(c.path("ports")).anyMatch(p -> p.path("hostPort").asInt() != 0));
        forbid(
                violations,
                "Host Probes / Lifecycle Hooks",
                containers,
                c -> Stream.of("livenessProbe", "readinessProbe", "startupProbe", "lifecycle")
                        .flatMap(f -> c.path(f).findValues("host").stream())
                        .anyMatch(host -> !host.asText().isEmpty()));
        forbid(
                violations,
                "AppArmor",
                contexts,
                c -> !Set.of("", "RuntimeDefault", "Localhost")
                        .contains(c.at("/appArmorProfile/type").asText()));
        forbid(
                violations,
                "SELinux",
                contexts,
                c -> !Set.of("", "container_t", "container_init_t", "container_kvm_t", "container_engine_t")
                                .contains(c.at("/seLinuxOptions/type").asText())
                        || c.at("/seLinuxOptions").has("user")
                        || c.at("/seLinuxOptions").has("role"));
        forbid(
                violations,
                "/proc Mount Type",
                contexts,
                c -> !Set.of("", "Default").contains(c.path("procMount").asText()));
        forbid(
                violations,
                "Sysctls",
                podContext.path("sysctls"),
                s -> !SAFE_SYSCTLS.contains(s.path("name").asText()));
        forbid(
                violations,
                "Volume Types",
                spec.path("volumes"),
                v -> !VOLUMES.containsAll(v.properties().stream()
                        .map(Map.Entry::getKey)
                        .filter(f -> !f.equals("name"))
                        .toList()));
        forbid(
                violations,
                "Privilege Escalation",
                containers,
                c -> c.at("/securityContext/allowPrivilegeEscalation").asBoolean(true));
        forbid(
                violations,
                "Running as Non-root",
                containers,
                c -> !c.at("/securityContext/runAsNonRoot")
                        .asBoolean(podContext.path("runAsNonRoot").asBoolean(false)));
        forbid(
                violations,
                "Running as Non-root user",
                contexts,
                c -> c.has("runAsUser") && c.path("runAsUser").asLong() == 0);
        forbid(
                violations,
                "Seccomp",
                containers,
                c -> !Set.of("RuntimeDefault", "Localhost")
                        .contains(c.at("/securityContext/seccompProfile/type")
                                .asText(podContext.at("/seccompProfile/type").asText())));
        forbid(
                violations,
                "Seccomp",
                contexts,
                c -> c.at("/seccompProfile/type").asText().equals("Unconfined"));
        return violations;
    }

    private static void forbid(
            Set<String> violations, String rule, Iterable<JsonNode> nodes, Predicate<JsonNode> breaks) {
        if (StreamSupport.stream(nodes.spliterator(), false).anyMatch(breaks)) {
            violations.add(rule);
        }
    }

    private static Stream<JsonNode> stream(JsonNode list) {
        return StreamSupport.stream(list.spliterator(), false);
    }

    private static List<String> strings(JsonNode list) {
        return stream(list).map(JsonNode::asText).toList();
    }
}
