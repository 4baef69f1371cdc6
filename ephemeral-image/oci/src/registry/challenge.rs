//! The `WWW-Authenticate` header (RFC 9110, section 11.6.1), as far as registries use it.

/// How a registry wants to be authenticated to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// Name and password with every request (RFC 7617).
    Basic,
    /// A token from a token service (the "token authentication" of Docker's registry, which all others follow).
    Bearer {
        /// URL of the token service.
        realm: String,
        /// The name by which that service knows the registry.
        service: Option<String>,
    },
}

/// Parses one header value; `None` for a scheme that we do not speak.
pub(super) fn parse(header: &str) -> Option<Challenge> {
    let (scheme, parameters) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let (mut realm, mut service) = (None, None);
    let mut rest = parameters;
    while let Some((name, value, after)) = next_parameter(rest) {
        match name.to_ascii_lowercase().as_str() {
            "realm" => realm = Some(value),
            "service" => service = Some(value),
            _ => {}
        }
        rest = after;
    }
    Some(Challenge::Bearer { realm: realm?, service })
}

/// The next `name=value` or `name="value"`, and what follows it.
fn next_parameter(text: &str) -> Option<(&str, String, &str)> {
    let (name, rest) = text.trim_start_matches([' ', ',']).split_once('=')?;
    let Some(quoted) = rest.strip_prefix('"') else {
        let (value, after) = rest.split_once(',').unwrap_or((rest, ""));
        return Some((name.trim(), value.trim().to_owned(), after));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((name.trim(), value, &quoted[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            _ => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{Challenge, parse};

    #[test]
    fn reads_what_registries_send() {
        let bearer = |realm: &str, service: Option<&str>| {
            Some(Challenge::Bearer {
                realm: realm.to_owned(),
                service: service.map(str::to_owned),
            })
        };
        assert_eq!(parse("Basic realm=\"Registry\""), Some(Challenge::Basic));
        assert_eq!(
            parse(r#"Bearer realm="https://auth.example/token",service="r.example",scope="repository:a:pull,push""#),
            bearer("https://auth.example/token", Some("r.example"))
        );
        assert_eq!(
            parse(r#"bearer scope="a,b", realm="https://x/\"q", error=invalid"#),
            bearer("https://x/\"q", None)
        );
        assert_eq!(
            parse("bearer realm=https://x/t, service=y"),
            bearer("https://x/t", Some("y"))
        );
    }

    #[test]
    fn refuses_what_it_cannot_answer() {
        for header in [
            "",
            "Negotiate",
            "Bearer",
            "Bearer service=\"x\"",
            "Bearer realm=\"cut",
            "Bearer realm=\"cut\\",
        ] {
            assert_eq!(parse(header), None, "{header}");
        }
    }
}
