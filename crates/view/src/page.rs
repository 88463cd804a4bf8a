//! The layers of several images as one page for a browser: a picture, and a table with the same numbers.
//!
//! The page needs nothing but itself, runs no scripts and forbids them to whatever an image may have smuggled in. It is HTML
//! in the form of XML, so that strict readers take it as well.

use std::fmt::Write as _;

use crate::layers::{Layer, Layers};
use crate::stacks::{Place, places};

/// The look of the page.
const STYLE: &str = include_str!("page/style.css");
/// Between the hues of two shared layers, in degrees: the golden angle keeps any number of them apart.
const HUE_STEP: f64 = 137.508;

/// The page.
#[must_use]
pub fn page(layers: &Layers) -> String {
    let title = match layers.images.len() {
        1 => "Layers of 1 image".to_owned(),
        count => format!("Layers of {count} images"),
    };
    let hues = hues(layers);
    let mut html = String::new();
    html.push_str("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n");
    html.push_str(
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"/>\n",
    );
    html.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n");
    html.push_str("<meta name=\"color-scheme\" content=\"light dark\"/>\n");
    push(
        &mut html,
        format_args!("<title>{title}</title>\n<style>\n{STYLE}"),
    );
    for number in 0..layers.layers.len() {
        push(&mut html, format_args!("{}", style_of(number)));
    }
    push(
        &mut html,
        format_args!("</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n"),
    );
    totals(&mut html, layers);
    picture(&mut html, layers, &hues);
    table(&mut html, layers, &hues);
    html.push_str("</main>\n</body>\n</html>\n");
    html
}

/// The layer that is pointed at stands out wherever it is, and the panel tells about it.
fn style_of(number: usize) -> String {
    let pointed = format!("main:has(.l{number}:hover,.l{number}:focus-visible)");
    format!(
        "{pointed} .l{number}{{--on:1}}{pointed} .d{number}{{display:grid}}{pointed} .hint{{display:none}}\n"
    )
}

fn totals(html: &mut String, layers: &Layers) {
    let share = percent(layers.saved, layers.total);
    html.push_str("<dl class=\"totals\">\n");
    for (class, name, bytes, note) in [
        (
            "",
            "All images",
            layers.total,
            "the layers of each image added up".to_owned(),
        ),
        ("needed", "Needed", layers.needed, "every layer once".to_owned()),
        (
            "saved",
            "Saved by sharing",
            layers.saved,
            format!("{share} % of all"),
        ),
    ] {
        push(
            html,
            format_args!(
                "<div class=\"{class}\"><dt>{name}</dt><dd><b>{}</b><span>{note}</span></dd></div>\n",
                bytes_text(bytes)
            ),
        );
    }
    push(
        html,
        format_args!(
            "</dl>\n<div class=\"bar\" role=\"img\" aria-label=\"{share} percent saved by sharing\"><i style=\"width:{}%\"></i></div>\n",
            100 - share
        ),
    );
}

fn picture(html: &mut String, layers: &Layers, hues: &[Option<u32>]) {
    let (places, height) = places(layers);
    html.push_str("<section>\n<h2>Stacks</h2>\n");
    html.push_str(
        "<p class=\"note\">Base at the bottom, height by size. A layer that several images have stands in the same place in \
         all of them, in a colour of its own; grey ones belong to one image. Their numbers and the letters of the images are those of the table.</p>\n",
    );
    push(
        html,
        format_args!("<div class=\"scroll\"><div class=\"stacks\" style=\"--height:{height}px\">\n"),
    );
    for number in 0..layers.images.len() {
        stack(html, number, layers, &places, hues);
    }
    html.push_str("</div></div>\n<div class=\"panel\">\n<p class=\"hint\">Point at a layer, or reach it by the tab key, to see what it is; it leads to its row in the table.</p>\n");
    for (number, layer) in layers.layers.iter().enumerate() {
        push(
            html,
            format_args!(
                "<div class=\"detail d{number}\"><p><b>Layer {}</b> {}, uncompressed {}, {}, in {}</p><p class=\"by\">{}</p>\
                 <p><code>{}</code></p></div>\n",
                number + 1,
                bytes_text(layer.size),
                bytes_text(layer.unpacked),
                counted(layer.objects, "object"),
                counted(layer.images.len(), "image"),
                made_by(layer),
                layer.digest
            ),
        );
    }
    html.push_str("</div>\n</section>\n");
}

fn stack(html: &mut String, number: usize, layers: &Layers, places: &[Place], hues: &[Option<u32>]) {
    let Some(image) = layers.images.get(number) else {
        return;
    };
    let letters = letters(number);
    html.push_str("<figure>\n<div class=\"stack\">\n");
    for (position, number) in image.layers.iter().enumerate() {
        let (Some(layer), Some(place)) = (layers.layers.get(*number), places.get(*number)) else {
            continue;
        };
        // A layer that is there twice is drawn once.
        if image.layers.iter().take(position).any(|below| below == number) {
            continue;
        }
        let size = bytes_text(layer.size);
        push(
            html,
            format_args!(
                "<a href=\"#layer-{0}\" class=\"layer l{number}{1}\" style=\"{5}bottom:{2}px;height:{3}px\" \
                 aria-label=\"Layer {0}, {size}, in {4}\"><b>{0}</b><span>{size}</span></a>\n",
                number + 1,
                class(hues, *number),
                place.bottom,
                place.height,
                counted(layer.images.len(), "image"),
                style(hues, *number),
            ),
        );
    }
    push(
        html,
        format_args!(
            "</div>\n<figcaption><b><i>{letters}</i> {}</b><span>{}</span><span>{}</span><span>{} % shared</span></figcaption>\n</figure>\n",
            escape(&image.name),
            escape(&image.platform),
            bytes_text(image.size),
            percent(image.shared, image.size)
        ),
    );
}

fn table(html: &mut String, layers: &Layers, hues: &[Option<u32>]) {
    html.push_str(
        "<section>\n<h2>Layers</h2>\n<div class=\"scroll\"><table>\n<thead><tr><th class=\"number\">Layer</th>\
         <th class=\"number\">Size</th><th class=\"number\">Uncompressed</th><th class=\"number\">Objects</th>\
         <th>Images</th><th>Made by</th><th>Digest</th></tr></thead>\n<tbody>\n",
    );
    for (number, layer) in layers.layers.iter().enumerate() {
        let names: Vec<String> = layer
            .images
            .iter()
            .filter_map(|image| Some((image, layers.images.get(*image)?)))
            .map(|(number, image)| {
                let name = escape(&image.name);
                format!("<abbr title=\"{name}\">{}</abbr>", letters(*number))
            })
            .collect();
        push(
            html,
            format_args!(
                "<tr id=\"layer-{0}\" class=\"l{number}\"><td class=\"number\"><span class=\"swatch{1}\" style=\"{8}\">{0}</span></td>\
                 <td class=\"number\">{2}</td><td class=\"number\">{3}</td><td class=\"number\">{4}</td><td class=\"images\">{5}</td>\
                 <td class=\"by\">{6}</td><td><code>{7}</code></td></tr>\n",
                number + 1,
                class(hues, number),
                bytes_text(layer.size),
                bytes_text(layer.unpacked),
                layer.objects,
                names.join(" "),
                made_by(layer),
                layer.digest,
                style(hues, number),
            ),
        );
    }
    html.push_str("</tbody>\n<tfoot><tr><td></td>");
    push(
        html,
        format_args!(
            "<td class=\"number\">{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td>",
            bytes_text(layers.needed),
            bytes_text(layers.layers.iter().map(|layer| layer.unpacked).sum()),
            layers.layers.iter().map(|layer| layer.objects).sum::<usize>()
        ),
    );
    html.push_str("<td colspan=\"3\">every layer once</td></tr></tfoot>\n</table></div>\n</section>\n");
}

fn made_by(layer: &Layer) -> String {
    match layer.created_by.is_empty() {
        true => "<i>not told</i>".to_owned(),
        false => escape(&layer.created_by),
    }
}

/// A hue for each layer that several images have, in degrees.
fn hues(layers: &Layers) -> Vec<Option<u32>> {
    let mut hue = 205.0;
    let mut next = || {
        let this = hue;
        hue = (hue + HUE_STEP) % 360.0;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 360")]
        let this = this as u32;
        this
    };
    let is_shared = layers.layers.iter().map(|layer| layer.images.len() > 1);
    is_shared.map(|is_shared| is_shared.then(&mut next)).collect()
}

/// What a class attribute has more for a layer that is shared.
fn class(hues: &[Option<u32>], number: usize) -> &'static str {
    match hues.get(number).copied().flatten() {
        Some(_) => " shared",
        None => "",
    }
}

/// The start of a style attribute.
fn style(hues: &[Option<u32>], number: usize) -> String {
    match hues.get(number).copied().flatten() {
        Some(hue) => format!("--hue:{hue};"),
        None => String::new(),
    }
}

/// A text from an image as it may stand in the page.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // What XML does not allow, and what turns the direction of all that follows.
            c if c.is_control() || is_turning(c) || matches!(c, '\u{fffe}' | '\u{ffff}') => {
                escaped.extend(c.escape_default());
            }
            c => escaped.push(c),
        }
    }
    escaped
}

fn is_turning(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A number of bytes for people.
fn bytes_text(bytes: u64) -> String {
    let mut unit = 1u64;
    let mut name = "B";
    for larger in ["KiB", "MiB", "GiB", "TiB", "PiB"] {
        if bytes / 1024 < unit {
            break;
        }
        unit *= 1024;
        name = larger;
    }
    if unit == 1 {
        return format!("{bytes} B");
    }
    let hundredths = (u128::from(bytes) * 100 + u128::from(unit) / 2) / u128::from(unit);
    format!("{}.{:02} {name}", hundredths / 100, hundredths % 100)
}

/// What the table calls an image: A to Z, then AA and so on.
fn letters(number: usize) -> String {
    let (rest, last) = (number / 26, number % 26);
    let last = char::from(b'A' + u8::try_from(last).unwrap_or_default());
    match rest {
        0 => last.to_string(),
        rest => letters(rest - 1) + &last.to_string(),
    }
}

fn percent(part: u64, whole: u64) -> u64 {
    let share = u128::from(part) * 100 / u128::from(whole.max(1));
    u64::try_from(share).unwrap_or(100).min(100)
}

fn counted(number: usize, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}

fn push(html: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = html.write_fmt(arguments);
}

#[cfg(test)]
mod tests;
