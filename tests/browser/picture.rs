//! Pictures of the page, to be looked at.

use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::cdp::{Browser, Tab};

impl Browser {
    /// Shows this tab, as somebody does who looks at it.
    pub(crate) fn front(&mut self, tab: &Tab) {
        self.call(Some(tab), "Page.bringToFront", json!({}));
    }

    /// A picture of the tab as a PNG file.
    pub(crate) fn screenshot(&mut self, tab: &Tab, width: u32, height: u32, dark: bool, file: &Path) {
        // A tab at the back paints nothing: its picture would never come.
        self.front(tab);
        let screen = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call(Some(tab), "Emulation.setDeviceMetricsOverride", screen);
        let scheme = if dark { "dark" } else { "light" };
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call(Some(tab), "Emulation.setEmulatedMedia", media);
        let picture = self.call(Some(tab), "Page.captureScreenshot", json!({"format": "png"}));
        let png = STANDARD.decode(picture["data"].as_str().expect("a picture")).expect("base64");
        fs::write(file, png).expect("the picture is written");
    }
}
